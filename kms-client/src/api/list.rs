//! Lists: a page at a time, or item by item over all pages.

use std::{collections::VecDeque, future::Future};

use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::error::Error;

/// Items one after the other, fetched a page at a time.
pub type Items<T> = BoxStream<'static, Result<T, Error>>;

/// Which page is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Most items a page; 0 leaves it to the server.
    pub size: u32,
    /// `next` of the page before; empty for the first.
    pub token: String,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Asks for the page after; `None` on the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn new<M, E>(
        items: Vec<M>,
        convert: impl FnMut(M) -> Result<T, E>,
        next: String,
    ) -> Result<Self, E> {
        let items = items.into_iter().map(convert).collect::<Result<_, _>>()?;
        Ok(Self { items, next: (!next.is_empty()).then_some(next) })
    }
}

/// Runs over all pages that `fetch` brings.
pub(super) fn items<T, F, R>(fetch: F) -> Items<T>
where
    T: Send + 'static,
    F: Fn(PageRequest) -> R + Send + 'static,
    R: Future<Output = Result<Page<T>, Error>> + Send + 'static,
{
    let start = (VecDeque::new(), Some(String::new()), fetch);
    stream::try_unfold(start, |(mut ready, mut next, fetch)| async move {
        loop {
            if let Some(item) = ready.pop_front() {
                return Ok(Some((item, (ready, next, fetch))));
            }
            let Some(token) = next.take() else { return Ok(None) };
            let page = fetch(PageRequest { size: 0, token }).await?;
            ready.extend(page.items);
            next = page.next;
        }
    })
    .boxed()
}
