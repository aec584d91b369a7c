use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "k", bind("id"))]
struct Row {
    tenant: String,
    id: u64,
    #[protect(encrypt)]
    name: String,
}

fn main() {}
