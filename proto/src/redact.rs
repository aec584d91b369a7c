//! `Debug` for messages that carry plaintext, keys or context values: names what is there, never shows it.

use std::fmt;

use crate::v1;

/// How many bytes there are, and nothing else of them.
struct Redacted(usize);

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0)
    }
}

/// Destructures without `..`, so that a new field breaks the build until somebody decides how it is shown.
macro_rules! redacted_debug {
    ($($message:path { $($shown:ident),* ; $($hidden:ident),+ })*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self { $($shown,)* $($hidden,)+ } = self;
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($shown), $shown))*
                    $(.field(stringify!($hidden), &Redacted($hidden.len())))+
                    .finish()
            }
        }
    )*};
}

redacted_debug! {
    v1::ContextPair { name; value }
    v1::Context { ; pairs }
    v1::FieldBinding { table, column; record_id }
    v1::EncryptRequest { tenant, key, binding, purpose; plaintext }
    v1::EncryptBatchRequest { tenant, key, purpose; items }
    v1::encrypt_batch_request::Item { binding; plaintext }
    v1::DecryptResponse { version, store_revision; plaintext }
    v1::DecryptBatchResponse { store_revision; items }
    v1::Masked { form, version; text }
    v1::GenerateDataKeyResponse { version, store_revision, ciphertext; plaintext, padding }
    v1::LeasedDataKey { version_id, data_key_id, lease, budget, revision, key, version, key_class; data_key }
    v1::GenerateRandomResponse { ; random }
    v1::GetCertificateResponse { certificate, erased; name_salt }
}

impl fmt::Debug for v1::decrypt_batch_response::Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcome } = self;
        f.debug_struct("DecryptBatchResponse.Item").field("outcome", outcome).finish()
    }
}

impl fmt::Debug for v1::decrypt_batch_response::item::Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext(plaintext) => Redacted(plaintext.len()).fmt(f),
            Self::Error(error) => error.fmt(f),
        }
    }
}
