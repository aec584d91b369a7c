use kms_client_derive::Protect;
struct DateTime;
#[derive(Protect)]
#[protect(table = "rows", key = "k", tenant = "tenant", bind("id"))]
struct Row {
    tenant: String,
    id: u64,
    #[protect(encrypt)]
    at: DateTime,
}

fn main() {}
