use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "k", tenant = "tenant", bind("id"), per = "id")]
struct Row {
    tenant: String,
    id: u64,
    #[protect(encrypt, previous(table = "old", shared))]
    name: String,
}

fn main() {}
