//! Page tokens: opaque to callers, they name the list and the last item of the page before.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kms_proto::reason::Reason;

use super::status::Failure;

/// Where a list goes on.
pub(super) struct PageToken;

impl PageToken {
    /// The last item of the page before; `None` on the first page.
    pub(super) fn read(list: &str, token: &str) -> Result<Option<String>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Self::invalid())?;
        let text = String::from_utf8(bytes).map_err(|_| Self::invalid())?;
        let after =
            text.strip_prefix(list).and_then(|rest| rest.strip_prefix(':')).ok_or_else(Self::invalid)?;
        Ok(Some(after.to_owned()))
    }

    /// The token after a page; empty where the page was not full, for then it was the last.
    pub(super) fn after<T>(list: &str, page: &[T], limit: usize, name: impl Fn(&T) -> String) -> String {
        match page.last() {
            Some(last) if page.len() >= limit => Self::of(list, &name(last)),
            _ => String::new(),
        }
    }

    /// The token that says where a list goes on.
    pub(super) fn of(list: &str, place: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{list}:{place}"))
    }

    pub(super) fn invalid() -> Failure {
        Failure::message(Reason::PageTokenInvalid, Reason::PageTokenInvalid.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_after_the_last_item_of_its_own_list_only() {
        let token = PageToken::after("keys", &["a", "b"], 2, |name| (*name).to_owned());
        assert_eq!(PageToken::read("keys", &token).unwrap().as_deref(), Some("b"));
        for (list, token) in [("tenants", &*token), ("keys", "!"), ("keys", "a2V5cw")] {
            assert_eq!(PageToken::read(list, token).unwrap_err().reason(), Reason::PageTokenInvalid);
        }
    }

    #[test]
    fn a_page_that_is_not_full_is_the_last() {
        assert_eq!(PageToken::after("keys", &["a"], 2, |name| (*name).to_owned()), "");
        assert!(PageToken::read("keys", "").unwrap().is_none());
    }
}
