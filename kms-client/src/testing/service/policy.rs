//! The service `Policy`: which masks are declared. Policies themselves are the real server's.

use kms_core::names::FamilyName;
use kms_proto::{
    reason::Reason,
    v1::{self, policy_server::Policy},
};
use tonic::{Request, Response, Status};

use super::{
    super::{refused::Refused, rights::Operation},
    Desk, Service, calls,
    limits::Paging,
};

impl Desk<'_> {
    fn explain(&mut self, _: v1::ExplainRequest) -> Result<v1::ExplainResponse, Refused> {
        Err(Refused::not_in_memory("policies to explain"))
    }

    fn list_masks(&mut self, message: v1::ListMasksRequest) -> Result<v1::ListMasksResponse, Refused> {
        let paging = Paging::of("masks", message.page_size, &message.page_token)?;
        let family = (!message.key.is_empty()).then(|| FamilyName::try_from(&*message.key)).transpose()?;
        self.authorize(Operation::ExplainPolicy)?;
        let from = match &paging.after {
            Some(after) => after.parse::<usize>().map_err(|_| Reason::PageTokenInvalid)?.saturating_add(1),
            None => 0,
        };
        let wanted = self.state.masks.all().enumerate().skip(from);
        let wanted = wanted.filter(|(_, ((of, ..), _))| family.as_ref().is_none_or(|family| family == of));
        let (page, next_page_token) = paging.page("masks", wanted, |(place, _)| place.to_string());
        let declared =
            |(_, ((family, table, column), mask)): (usize, (&(FamilyName, _, _), &kms_core::mask::Mask))| {
                let (table, column): (&kms_core::names::TableName, &kms_core::names::ColumnName) =
                    (table, column);
                v1::DeclaredMask {
                    key: family.to_string(),
                    table: table.to_string(),
                    column: column.to_string(),
                    form: mask.form().to_string(),
                    terms: mask.terms(),
                }
            };
        let masks = page.into_iter().map(declared).collect();
        Ok(v1::ListMasksResponse { masks, next_page_token, policy_epoch: 1 })
    }
}

calls! {
    Policy {
        explain(ExplainRequest) -> ExplainResponse;
        list_masks(ListMasksRequest) -> ListMasksResponse;
    }
}
