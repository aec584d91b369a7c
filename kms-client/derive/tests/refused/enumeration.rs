use kms_client_derive::Protect;

#[derive(Protect)]
enum Row {
    One,
}

fn main() {}
