use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "k", tenant = "tenant", bind("id"))]
struct Row {
    tenant: String,
    id: u64,
    #[protect(encrypt, previous(key = "old", shared))]
    name: String,
}

fn main() {}
