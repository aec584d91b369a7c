//! The service `Keys`, as far as tests need it: tenants are created and listed.

use kms_proto::v1::{self, keys_server::Keys, *};
use tonic::{Request, Response, Status};

use super::server::State;

type Answer<A> = Result<Response<A>, Status>;

fn tenant(name: &str) -> v1::Tenant {
    v1::Tenant {
        name: name.into(),
        state: v1::LifecycleState::Active.into(),
        created: Some(prost_types::Timestamp { seconds: 1_000, nanos: 0 }),
        uid: vec![1; 16],
        ..Default::default()
    }
}

macro_rules! not_built {
    ($($call:ident($request:ty) -> $answer:ty;)*) => {
        #[tonic::async_trait]
        impl Keys for State {
            async fn create_tenant(&self, request: Request<CreateTenantRequest>) -> Answer<Tenant> {
                self.change_ids.lock().push(request.get_ref().request_id.clone());
                self.enter("CreateTenant", &request).await?;
                Ok(Response::new(tenant(&request.into_inner().tenant)))
            }

            async fn describe_tenant(&self, request: Request<DescribeTenantRequest>) -> Answer<Tenant> {
                self.enter("DescribeTenant", &request).await?;
                let state = v1::LifecycleState::Unspecified.into();
                Ok(Response::new(v1::Tenant { state, ..tenant(&request.into_inner().tenant) }))
            }

            async fn list_tenants(&self, request: Request<ListTenantsRequest>) -> Answer<ListTenantsResponse> {
                self.enter("ListTenants", &request).await?;
                let page: u32 = request.into_inner().page_token.parse().unwrap_or(0);
                let tenants = (0..2).map(|n| tenant(&format!("t{}", page * 2 + n))).collect();
                let next_page_token = if page < 2 { (page + 1).to_string() } else { String::new() };
                Ok(Response::new(ListTenantsResponse { tenants, next_page_token }))
            }

            $(async fn $call(&self, _: Request<$request>) -> Answer<$answer> {
                Err(Status::unimplemented(""))
            })*
        }
    };
}

not_built! {
    census(CensusRequest) -> CensusResponse;
    update_tenant(UpdateTenantRequest) -> Tenant;
    suspend_tenant(SuspendTenantRequest) -> Tenant;
    resume_tenant(ResumeTenantRequest) -> Tenant;
    destroy_tenant(DestroyTenantRequest) -> DestroyTenantResponse;
    create_key(CreateKeyRequest) -> Key;
    ensure_subjects(EnsureSubjectsRequest) -> EnsureSubjectsResponse;
    describe_key(DescribeKeyRequest) -> Key;
    list_keys(ListKeysRequest) -> ListKeysResponse;
    list_versions(ListVersionsRequest) -> ListVersionsResponse;
    update_key(UpdateKeyRequest) -> Key;
    rotate_key(RotateKeyRequest) -> Key;
    suspend_key(SuspendKeyRequest) -> Key;
    resume_key(ResumeKeyRequest) -> Key;
    destroy_key(DestroyKeyRequest) -> DestroyKeyResponse;
    cancel_destroy_tenant(CancelDestroyTenantRequest) -> Tenant;
    cancel_destroy_key(CancelDestroyKeyRequest) -> Key;
    confirm_clock(ConfirmClockRequest) -> ConfirmClockResponse;
}
