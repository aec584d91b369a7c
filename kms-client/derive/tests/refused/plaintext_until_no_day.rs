use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "k", tenant = "tenant", bind("id"))]
struct Row {
    tenant: String,
    id: u64,
    #[protect(encrypt, allow_plaintext(until = "2027-02-29"))]
    name: String,
}

fn main() {}
