use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "people", tenant = "tenant", bind("id"), per = "person")]
struct Row {
    tenant: String,
    id: u64,
    person: String,
    #[protect(encrypt, index(eq, bits = 20), previous(key = "attendance", shared))]
    name: String,
}

fn main() {}
