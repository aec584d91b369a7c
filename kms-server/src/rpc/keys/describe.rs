//! What there is: keys, their versions, and which data needs those.

use kms_core::names::{FamilyName, TenantName};
use kms_proto::v1;

use crate::gate::Caller;
use crate::records::KeyRef;
use crate::rpc::page::PageToken;
use crate::rpc::status::Failure;
use crate::rpc::{Core, convert};
use crate::usecase::{census, describe};

impl Core {
    pub(super) async fn describe_key(
        &self,
        caller: &Caller,
        message: v1::DescribeKeyRequest,
    ) -> Result<v1::Key, Failure> {
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let key = describe::describe_key(permit, &self.keyring);
        Ok(convert::key_to_wire(self.gate.record(key).await??))
    }

    pub(super) async fn list_keys(
        &self,
        caller: &Caller,
        message: v1::ListKeysRequest,
    ) -> Result<v1::ListKeysResponse, Failure> {
        let limit = convert::page_size(message.page_size);
        let after = PageToken::read("keys", &message.page_token)?;
        let after = after.map(|after| KeyRef::try_from(&*after)).transpose()?;
        let family =
            (!message.family.is_empty()).then(|| FamilyName::try_from(&*message.family)).transpose()?;
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let listed = describe::list_keys(permit, &self.keyring, family, after, limit);
        let listed = self.gate.record(listed).await??;
        let next_page_token = PageToken::after("keys", &listed, limit, |key| key.name.to_string());
        Ok(v1::ListKeysResponse {
            keys: listed.into_iter().map(convert::key_to_wire).collect(),
            next_page_token,
        })
    }

    pub(super) async fn list_versions(
        &self,
        caller: &Caller,
        message: v1::ListVersionsRequest,
    ) -> Result<v1::ListVersionsResponse, Failure> {
        let limit = convert::page_size(message.page_size);
        let after = match PageToken::read("versions", &message.page_token)? {
            Some(after) => after.parse().map_err(|_| PageToken::invalid())?,
            None => 0,
        };
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let listed = describe::list_versions(permit, &self.keyring, after, limit);
        let listed = self.gate.record(listed).await??;
        let next_page_token =
            PageToken::after("versions", &listed, limit, |version| version.record.version.to_string());
        Ok(v1::ListVersionsResponse {
            versions: listed.iter().map(convert::version_to_wire).collect(),
            next_page_token,
        })
    }

    pub(super) async fn census(
        &self,
        caller: &Caller,
        message: v1::CensusRequest,
    ) -> Result<v1::CensusResponse, Failure> {
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let counted = census::census(permit, &self.keyring).await;
        Ok(convert::census_to_wire(self.gate.record(counted).await??))
    }
}
