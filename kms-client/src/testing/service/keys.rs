//! The service `Keys`.

use kms_core::{
    names::{FamilyName, KeyName, SubjectName, TenantName},
    state::DestroyReason,
};
use kms_proto::{
    reason::Reason,
    v1::{self, destroy_key_request::Target, ensure_subjects_response, keys_server::Keys},
};
use tonic::{Request, Response, Status};

use super::{
    super::{
        ledger::{Ensured, KeyChange, NewKey, Outcome, Place, TenantChange, Which},
        refused::Refused,
        rights::Operation,
    },
    Desk, Service, calls, item,
    limits::{self, MAX_IDS, Paging},
};

impl Desk<'_> {
    fn create_tenant(&mut self, message: v1::CreateTenantRequest) -> Result<v1::Tenant, Refused> {
        let label = limits::label(message.label.clone())?;
        let name = self.authorize_tenant(Operation::CreateTenant, &message.tenant)?;
        self.once(Operation::CreateTenant, &message.request_id, &message, |ledger, now| {
            ledger.create_tenant(name, label, now).map(|()| Outcome::default())
        })?;
        self.tenant(&message.tenant)
    }

    fn tenant(&self, name: &str) -> Result<v1::Tenant, Refused> {
        let ledger = &self.state.ledger;
        Ok(ledger.tenant_view(ledger.tenant(ledger.named(name)?)?, self.now))
    }

    fn describe_tenant(&mut self, message: v1::DescribeTenantRequest) -> Result<v1::Tenant, Refused> {
        self.authorize_tenant(Operation::DescribeTenant, &message.tenant)?;
        self.tenant(&message.tenant)
    }

    fn list_tenants(&mut self, message: v1::ListTenantsRequest) -> Result<v1::ListTenantsResponse, Refused> {
        let paging = Paging::of("tenants", message.page_size, &message.page_token)?;
        self.authorize(Operation::ListTenants)?;
        let tenants = self.state.ledger.tenants_after(paging.after.as_deref());
        let tenants = tenants.map(|tenant| self.state.ledger.tenant_view(tenant, self.now));
        let (tenants, next_page_token) = paging.page("tenants", tenants, |tenant| tenant.name.clone());
        Ok(v1::ListTenantsResponse { tenants, next_page_token })
    }

    fn update_tenant(&mut self, message: v1::UpdateTenantRequest) -> Result<v1::Tenant, Refused> {
        let label = message.label.clone().map(limits::label).transpose()?;
        let how = (TenantChange::Label(label), message.expected_revision);
        self.change_tenant(Operation::UpdateTenant, (&message.tenant, &message.request_id), how, &message)
    }

    fn suspend_tenant(&mut self, message: v1::SuspendTenantRequest) -> Result<v1::Tenant, Refused> {
        let how = (TenantChange::Suspend, message.expected_revision);
        self.change_tenant(Operation::SuspendTenant, (&message.tenant, &message.request_id), how, &message)
    }

    fn resume_tenant(&mut self, message: v1::ResumeTenantRequest) -> Result<v1::Tenant, Refused> {
        let how = (TenantChange::Resume, message.expected_revision);
        self.change_tenant(Operation::ResumeTenant, (&message.tenant, &message.request_id), how, &message)
    }

    fn change_tenant(
        &mut self,
        operation: Operation,
        (tenant, request_id): (&str, &str),
        (change, expected): (TenantChange, Option<u64>),
        message: &impl prost::Message,
    ) -> Result<v1::Tenant, Refused> {
        self.authorize_tenant(operation, tenant)?;
        self.once(operation, request_id, message, |ledger, now| {
            let slot = ledger.named(tenant)?;
            ledger.change_tenant(slot, change, expected, now).map(|()| Outcome::default())
        })?;
        self.tenant(tenant)
    }

    fn destroy_tenant(
        &mut self,
        message: v1::DestroyTenantRequest,
    ) -> Result<v1::DestroyTenantResponse, Refused> {
        limits::no_window(message.window)?;
        // Nobody looks at the reason here, but it must be one.
        let _: DestroyReason = limits::destroy_reason(message.reason)?;
        limits::check_ticket(&message.ticket)?;
        self.authorize_tenant(Operation::DestroyTenant, &message.tenant)?;
        let Outcome { epoch, .. } =
            self.once(Operation::DestroyTenant, &message.request_id, &message, |ledger, now| {
                let slot = ledger.named(&message.tenant)?;
                ledger.destroy_tenant(slot, message.expected_revision, now)
            })?;
        Ok(v1::DestroyTenantResponse { tenant: Some(self.tenant(&message.tenant)?), epoch, effaced: true })
    }

    fn create_key(&mut self, message: v1::CreateKeyRequest) -> Result<v1::Key, Refused> {
        let name = KeyName::try_from(&*message.key)?;
        TenantName::try_from(&*message.tenant)?;
        if name.subject_id().is_some() {
            let words = "a subject is created by its name: FAMILY/SUBJECT";
            return Err(Refused::new(Reason::NameInvalid, words));
        }
        if let Some(subject) = name.subject() {
            return self.create_subject(name.family(), subject, &message);
        }
        let how = NewKey {
            class: Some(limits::class(message.key_class)?),
            purposes: limits::purposes(message.purposes.clone())?,
            lease: limits::lease(message.lease)?,
            rotate_every: limits::rotation_period(message.rotate_every)?,
            family: message.family,
        };
        self.authorize_key(Operation::CreateKey, &message.tenant, &name, None)?;
        self.once(Operation::CreateKey, &message.request_id, &message, |ledger, now| {
            ledger.create_key(&message.tenant, name, how, now).map(|_| Outcome::default())
        })?;
        self.key(&message.tenant, &message.key)
    }

    fn create_subject(
        &mut self,
        family: &FamilyName,
        subject: &SubjectName,
        message: &v1::CreateKeyRequest,
    ) -> Result<v1::Key, Refused> {
        let own = message.key_class != 0 || message.lease.is_some() || message.rotate_every.is_some();
        if own || message.family || !message.purposes.is_empty() {
            let words =
                "a subject's key has class, purposes, lease and period from its family; leave them out";
            return Err(Refused::invalid(words));
        }
        let family = self.permit(Operation::CreateKey, &message.tenant, family.as_str())?;
        self.once(Operation::CreateKey, &message.request_id, message, |ledger, now| {
            ledger.create_subject(&family, subject, now).map(|_| Outcome::default())
        })?;
        self.key(&message.tenant, &message.key)
    }

    fn key(&self, tenant: &str, key: &str) -> Result<v1::Key, Refused> {
        self.key_at(&self.state.ledger.place(tenant, key).ok_or(Reason::KeyNotAccessible)?)
    }

    fn key_at(&self, place: &Place) -> Result<v1::Key, Refused> {
        self.state.ledger.key_view(place, true, self.now)
    }

    fn ensure_subjects(
        &mut self,
        message: v1::EnsureSubjectsRequest,
    ) -> Result<v1::EnsureSubjectsResponse, Refused> {
        use ensure_subjects_response::{Item, Subject, item::Outcome};
        limits::batch(message.subjects.len(), MAX_IDS, std::iter::empty())?;
        let purpose = (!message.purpose.is_empty()).then_some(&*message.purpose);
        let names = (&*message.tenant, &*message.family);
        let family = self.permit_for(Operation::EnsureSubjects, names, purpose)?;
        self.state.ledger.check_family(&family)?;
        let mut ensure = |subject: &String| {
            let subject = SubjectName::try_from(&**subject)?;
            let now = self.now;
            self.ledger().ensure(&family, &subject, now)
        };
        let ensured: Vec<_> = message.subjects.iter().map(&mut ensure).collect();
        let items = ensured.into_iter().map(|ensured| {
            let made = |ensured: Ensured| {
                let version_id = ensured.version.map_or(0, |version| version.get());
                Outcome::Subject(Subject { id: ensured.id.0.to_vec(), version_id, created: ensured.created })
            };
            Item { outcome: Some(item(ensured, made, Outcome::Error)) }
        });
        Ok(v1::EnsureSubjectsResponse { items: items.collect(), store_revision: self.revision() })
    }

    fn describe_key(&mut self, message: v1::DescribeKeyRequest) -> Result<v1::Key, Refused> {
        self.key_at(&self.permit(Operation::DescribeKey, &message.tenant, &message.key)?)
    }

    fn list_keys(&mut self, message: v1::ListKeysRequest) -> Result<v1::ListKeysResponse, Refused> {
        let paging = Paging::of("keys", message.page_size, &message.page_token)?;
        let after = paging.after.as_deref().map(KeyName::try_from).transpose()?;
        let family =
            (!message.family.is_empty()).then(|| FamilyName::try_from(&*message.family)).transpose()?;
        self.authorize_tenant(Operation::ListKeys, &message.tenant)?;
        let ledger = &self.state.ledger;
        let slot = ledger.named(&message.tenant)?;
        let tenant = ledger.tenant(slot)?;
        let view =
            |key: &KeyName| ledger.key_view(&Place { tenant: slot, key: key.clone() }, false, self.now);
        if let Some(family) = &family {
            let family = KeyName::from(family.clone());
            view(&family).map_err(|_| {
                Refused::new(
                    Reason::KeyDestroyed,
                    format!("key `{family}` is not there; nothing is under it"),
                )
            })?;
        }
        let wanted = |name: &&KeyName| match &family {
            None => name.subject_id().is_none(),
            Some(family) => name.subject_id().is_some() && name.family() == family,
        };
        let names = tenant.key_names().filter(wanted);
        let names = names.filter(|name| after.as_ref().is_none_or(|after| *name > after));
        let (page, next_page_token) = paging.page("keys", names, |name| name.to_string());
        let keys = page.into_iter().map(view).collect::<Result<_, _>>()?;
        Ok(v1::ListKeysResponse { keys, next_page_token })
    }

    fn list_versions(
        &mut self,
        message: v1::ListVersionsRequest,
    ) -> Result<v1::ListVersionsResponse, Refused> {
        let paging = Paging::of("versions", message.page_size, &message.page_token)?;
        let after = match &paging.after {
            Some(after) => after.parse().map_err(|_| Reason::PageTokenInvalid)?,
            None => 0,
        };
        let place = self.permit(Operation::DescribeKey, &message.tenant, &message.key)?;
        let versions = self.state.ledger.version_views(&place, after, self.now)?;
        let (versions, next_page_token) =
            paging.page("versions", versions, |version| version.version.to_string());
        Ok(v1::ListVersionsResponse { versions, next_page_token })
    }

    fn census(&mut self, _: v1::CensusRequest) -> Result<v1::CensusResponse, Refused> {
        Err(Refused::not_in_memory("census"))
    }

    fn update_key(&mut self, message: v1::UpdateKeyRequest) -> Result<v1::Key, Refused> {
        let change = KeyChange::Update {
            lease: limits::lease(message.lease)?,
            rotate_every: limits::rotation_period(message.rotate_every)?,
            purposes: message.purposes.clone().map(|list| limits::purposes(list.purposes)).transpose()?,
        };
        let (names, how) = ((&*message.tenant, &*message.key), (change, message.expected_revision));
        self.change_key(Operation::UpdateKey, names, &message.request_id, how, &message)
    }

    fn rotate_key(&mut self, message: v1::RotateKeyRequest) -> Result<v1::Key, Refused> {
        let change = KeyChange::Rotate { deterministic: message.deterministic };
        let (names, how) = ((&*message.tenant, &*message.key), (change, message.expected_revision));
        self.change_key(Operation::RotateKey, names, &message.request_id, how, &message)
    }

    fn suspend_key(&mut self, message: v1::SuspendKeyRequest) -> Result<v1::Key, Refused> {
        let (names, how) =
            ((&*message.tenant, &*message.key), (KeyChange::Suspend, message.expected_revision));
        self.change_key(Operation::SuspendKey, names, &message.request_id, how, &message)
    }

    fn resume_key(&mut self, message: v1::ResumeKeyRequest) -> Result<v1::Key, Refused> {
        let (names, how) =
            ((&*message.tenant, &*message.key), (KeyChange::Resume, message.expected_revision));
        self.change_key(Operation::ResumeKey, names, &message.request_id, how, &message)
    }

    fn change_key(
        &mut self,
        operation: Operation,
        (tenant, key): (&str, &str),
        request_id: &str,
        (change, expected): (KeyChange, Option<u64>),
        message: &impl prost::Message,
    ) -> Result<v1::Key, Refused> {
        let place = self.permit(operation, tenant, key)?;
        self.once(operation, request_id, message, |ledger, now| {
            ledger.change_key(&place, change, expected, now).map(|()| Outcome::default())
        })?;
        self.key_at(&place)
    }

    fn destroy_key(&mut self, message: v1::DestroyKeyRequest) -> Result<v1::DestroyKeyResponse, Refused> {
        limits::no_window(message.window)?;
        let which = match message.target {
            Some(Target::Version(number)) if number > 0 => Which::Version { number, force: message.force },
            Some(Target::All(true)) => Which::All,
            _ => return Err(Refused::new(Reason::FieldRequired, "name a version from 1, or set `all`")),
        };
        let _: DestroyReason = limits::destroy_reason(message.reason)?;
        limits::check_ticket(&message.ticket)?;
        let place = self.permit(Operation::DestroyKey, &message.tenant, &message.key)?;
        let Outcome { versions: destroyed_versions, epoch } =
            self.once(Operation::DestroyKey, &message.request_id, &message, |ledger, now| {
                ledger.destroy_key(&place, which, message.expected_revision, now)
            })?;
        let key = Some(self.key_at(&place)?);
        Ok(v1::DestroyKeyResponse { key, destroyed_versions, epoch, effaced: true })
    }

    fn cancel_destroy_tenant(&mut self, _: v1::CancelDestroyTenantRequest) -> Result<v1::Tenant, Refused> {
        Err(Refused::not_in_memory("destruction that is put off, and so none to call off"))
    }

    fn cancel_destroy_key(&mut self, _: v1::CancelDestroyKeyRequest) -> Result<v1::Key, Refused> {
        Err(Refused::not_in_memory("destruction that is put off, and so none to call off"))
    }

    fn confirm_clock(&mut self, _: v1::ConfirmClockRequest) -> Result<v1::ConfirmClockResponse, Refused> {
        Err(Refused::not_in_memory("clock but the one that the test moves"))
    }
}

calls! {
    Keys {
        create_tenant(CreateTenantRequest) -> Tenant;
        describe_tenant(DescribeTenantRequest) -> Tenant;
        list_tenants(ListTenantsRequest) -> ListTenantsResponse;
        update_tenant(UpdateTenantRequest) -> Tenant;
        suspend_tenant(SuspendTenantRequest) -> Tenant;
        resume_tenant(ResumeTenantRequest) -> Tenant;
        destroy_tenant(DestroyTenantRequest) -> DestroyTenantResponse;
        cancel_destroy_tenant(CancelDestroyTenantRequest) -> Tenant;
        create_key(CreateKeyRequest) -> Key;
        ensure_subjects(EnsureSubjectsRequest) -> EnsureSubjectsResponse;
        describe_key(DescribeKeyRequest) -> Key;
        list_keys(ListKeysRequest) -> ListKeysResponse;
        list_versions(ListVersionsRequest) -> ListVersionsResponse;
        census(CensusRequest) -> CensusResponse;
        update_key(UpdateKeyRequest) -> Key;
        rotate_key(RotateKeyRequest) -> Key;
        suspend_key(SuspendKeyRequest) -> Key;
        resume_key(ResumeKeyRequest) -> Key;
        destroy_key(DestroyKeyRequest) -> DestroyKeyResponse;
        cancel_destroy_key(CancelDestroyKeyRequest) -> Key;
        confirm_clock(ConfirmClockRequest) -> ConfirmClockResponse;
    }
}
