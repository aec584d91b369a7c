use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "k", tenant = "tenant", bind("id"))]
struct Row<T> {
    tenant: String,
    id: T,
    #[protect(encrypt)]
    name: String,
}

fn main() {}
