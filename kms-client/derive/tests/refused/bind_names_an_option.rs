use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "k", tenant = "tenant", bind("other"))]
struct Row {
    tenant: String,
    id: u64,
    other: Option<String>,
    #[protect(encrypt)]
    name: String,
}

fn main() {}
