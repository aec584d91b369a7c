//! How messages are turned into bytes: as tonic does it, with buffers that begin small.
//!
//! tonic begins each request and each reply with 8 KiB. Most of ours have a few hundred bytes, and an allocator that wipes what it
//! frees pays for each byte of room.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Room that a message begins with; larger ones grow it.
const ROOM: usize = 512;
/// Bytes after which a stream of messages is handed on; tonic's own.
const YIELD: usize = 32 * 1024;

/// Encodes `T`, decodes `U`.
#[derive(Debug, Clone)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(ROOM, YIELD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(ROOM, YIELD))
    }
}
