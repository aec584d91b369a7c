//! Compiles the `.proto` files with protox, so that no `protoc` has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const SERVED: [&str; 6] = [
    "kms/v1/common.proto",
    "kms/v1/crypto.proto",
    "kms/v1/keys.proto",
    "kms/v1/audit.proto",
    "kms/v1/policy.proto",
    "kms/v1/transparency.proto",
];
const STORED: [&str; 1] = ["kms/storage/v1/records.proto"];

/// Messages that carry plaintext or keys, listed one by one: their `Debug` is written by hand in `src/redact.rs`.
const SECRET: [&str; 15] = [
    "kms.v1.Context",
    "kms.v1.ContextPair",
    "kms.v1.FieldBinding",
    "kms.v1.EncryptRequest",
    "kms.v1.EncryptBatchRequest",
    "kms.v1.EncryptBatchRequest.Item",
    "kms.v1.DecryptResponse",
    "kms.v1.DecryptBatchResponse",
    "kms.v1.DecryptBatchResponse.Item",
    "kms.v1.DecryptBatchResponse.Item.outcome",
    "kms.v1.Masked",
    "kms.v1.GenerateDataKeyResponse",
    "kms.v1.LeasedDataKey",
    "kms.v1.GenerateRandomResponse",
    "kms.v1.GetCertificateResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=kms");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let served = protox::compile(SERVED, ["."])?;
    fs::write(out.join("kms_v1_descriptor.bin"), served.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::SmallBuffers")
        .skip_debug(SECRET)
        .compile_fds(served)?;

    let stored = protox::compile(STORED, ["."])?;
    tonic_prost_build::configure().build_client(false).build_server(false).compile_fds(stored)?;
    Ok(())
}
