use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "k", tenant = "tenant", bind("id"), class = "L4")]
struct Row {
    tenant: String,
    id: u64,
    #[protect(deterministic)]
    badge: u64,
}

fn main() {}
