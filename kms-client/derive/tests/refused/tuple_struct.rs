use kms_client_derive::Protect;

#[derive(Protect)]
#[protect(table = "rows", key = "k", tenant = "tenant", bind("id"))]
struct Row(String);

fn main() {}
