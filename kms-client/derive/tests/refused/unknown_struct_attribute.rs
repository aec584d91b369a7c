use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", keys = "k", tenant = "tenant", bind("id"))]
struct Row {
    tenant: String,
    id: u64,
    #[protect(encrypt)]
    name: String,
}

fn main() {}
