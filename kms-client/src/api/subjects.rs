//! Subjects of a family: their keys made in batches on first use, and listed by id.

use kms_core::{
    id::{Uid, VersionId},
    names::{FamilyName, SubjectName, TenantName},
};
use kms_proto::v1::{self, ensure_subjects_response as answered};

use super::{
    convert,
    list::{self, Items, Page, PageRequest},
    model::Key,
    tenants::client,
};
use crate::{call::Answered, error::Error, kms::Kms};

/// Most subjects of one call.
const MAX_SUBJECTS: usize = 10_000;

/// A subject that has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Names its key without its name: `FAMILY//ID`.
    pub id: Uid,
    /// The version that seals, if one does.
    pub version: Option<VersionId>,
    /// Whether its key was made by this call.
    pub created: bool,
}

impl Kms {
    /// Sees that each of these subjects has a key: a result for each, in order, however many calls it takes. Doing it again changes
    /// nothing. One whose key was destroyed fails with `KEY_DESTROYED`: only an operator's [`create_key`](Self::create_key) makes it
    /// another.
    pub async fn ensure_subjects(
        &self,
        tenant: &TenantName,
        family: &FamilyName,
        subjects: &[SubjectName],
    ) -> Vec<Result<Subject, Error>> {
        self.ensure_for(tenant, family, &self.terms.purpose, subjects).await
    }

    /// [`Kms::ensure_subjects`], stating another purpose to policy; empty for none.
    pub(crate) async fn ensure_for(
        &self,
        tenant: &TenantName,
        family: &FamilyName,
        purpose: &str,
        subjects: &[SubjectName],
    ) -> Vec<Result<Subject, Error>> {
        let mut ensured = Vec::with_capacity(subjects.len());
        for part in subjects.chunks(MAX_SUBJECTS) {
            let message = v1::EnsureSubjectsRequest {
                tenant: tenant.to_string(),
                family: family.to_string(),
                subjects: part.iter().map(|subject| subject.to_string()).collect(),
                purpose: purpose.to_owned(),
            };
            let called = self.call(message, |channel, request| async move {
                client(channel).ensure_subjects(request).await
            });
            ensured.extend(results(called.await, part.len()));
        }
        ensured
    }

    /// Keys of a family's subjects, by id, one after the other.
    pub fn list_subjects(&self, tenant: &TenantName, family: &FamilyName) -> Items<Key> {
        let (kms, tenant, family) = (self.clone(), tenant.clone(), family.clone());
        list::items(move |page| {
            let (kms, tenant, family) = (kms.clone(), tenant.clone(), family.clone());
            async move { kms.list_subjects_page(&tenant, &family, page).await }
        })
    }

    /// One page of a family's subjects.
    pub async fn list_subjects_page(
        &self,
        tenant: &TenantName,
        family: &FamilyName,
        page: PageRequest,
    ) -> Result<Page<Key>, Error> {
        let message = v1::ListKeysRequest {
            tenant: tenant.to_string(),
            page_size: page.size,
            page_token: page.token,
            family: family.to_string(),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).list_keys(request).await });
        called.await?.convert(|page| Page::new(page.keys, convert::key, page.next_page_token))
    }
}

fn results(
    called: Result<Answered<v1::EnsureSubjectsResponse>, Error>,
    asked: usize,
) -> Vec<Result<Subject, Error>> {
    let Answered { answer, request_id } = match called {
        Ok(answered) => answered,
        Err(error) => return std::iter::repeat_with(|| Err(error.clone())).take(asked).collect(),
    };
    let unclear = |what| Error::Answer { what, request_id: request_id.clone() };
    let one = |item: answered::Item| match item.outcome {
        Some(answered::item::Outcome::Subject(subject)) => Ok(Subject {
            id: convert::uid(&subject.id).map_err(unclear)?,
            version: (subject.version_id != 0).then(|| VersionId::from(subject.version_id)),
            created: subject.created,
        }),
        Some(answered::item::Outcome::Error(error)) => Err(Error::item(error, &request_id)),
        None => Err(unclear("a subject without an outcome")),
    };
    let mut results: Vec<_> = answer.items.into_iter().take(asked).map(one).collect();
    results.resize_with(asked, || Err(unclear("fewer results than subjects")));
    results
}
