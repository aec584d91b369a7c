//! Leases against a key centre in memory, on a clock that tests move.

use std::{sync::Arc, time::Duration};

use kms_proto::{
    reason::Reason,
    v1::{LeasedDataKey, OpenDataKeysRequest},
};

use super::{Lease, Scope, Want, What};
use crate::{
    Error, Kms,
    testing::{ATTENDANCE, Rights, Scene, TENANT, phone, records, row, scene, scene_with, until},
};

const OPEN: &str = "OpenDataKeys";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn to_seal() -> Want {
    let scope = Scope { tenant: TENANT.parse().unwrap(), purpose: "".into() };
    Want { scope, what: What::Seal { key: ATTENDANCE.parse().unwrap(), deterministic: false } }
}

fn held(kms: &Kms) -> Option<Arc<Lease>> {
    kms.shared.leases.peek(&to_seal())
}

async fn seal(scene: &Scene) -> Result<Vec<u8>, Error> {
    scene.records().seal(&phone(), &row("1"), b"138 0013 8000").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_that_miss_make_one_call() {
    let scene = scene();
    scene.hold_calls();
    let records = scene.records();
    let tasks: Vec<_> = (0..1_000)
        .map(|n| {
            let records = records.clone();
            tokio::spawn(async move { records.seal(&phone(), &row(&n.to_string()), b"x").await })
        })
        .collect();
    until("the call has arrived", || scene.calls(OPEN) == 1).await;
    scene.release_calls();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(scene.calls(OPEN), 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_take_the_others_down() {
    let scene = scene();
    scene.hold_calls();
    let first = tokio::spawn({
        let records = scene.records();
        async move { records.seal(&phone(), &row("1"), b"x").await }
    });
    until("the call has arrived", || scene.calls(OPEN) == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    scene.release_calls();
    seal(&scene).await.unwrap();
    assert_eq!(scene.calls(OPEN), 1);
}

#[tokio::test]
async fn a_lease_works_until_its_end_without_the_server_and_not_a_moment_longer() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_millis(400)));
    let sealed = seal(&scene).await.unwrap();
    scene.records().open(&phone(), &row("1"), &sealed).await.unwrap();
    scene.centre.stop();

    scene.centre.advance(seconds(60) - Duration::from_nanos(1));
    seal(&scene).await.unwrap();
    scene.records().open(&phone(), &row("1"), &sealed).await.unwrap();

    scene.centre.advance(Duration::from_nanos(1));
    let error = seal(&scene).await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), (Some(Reason::ServerUnreachable), 6), "{error}");
    assert!(scene.records().open(&phone(), &row("1"), &sealed).await.is_err());
}

#[tokio::test]
async fn while_the_server_is_away_callers_fail_at_once_and_when_it_is_back_one_call_serves_all() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_millis(400)));
    scene.centre.stop();
    seal(&scene).await.unwrap_err();
    let tried = scene.kms.server_calls();
    for _ in 0..100 {
        assert_eq!(seal(&scene).await.unwrap_err().reason(), Some(Reason::ServerUnreachable));
    }
    assert_eq!(scene.kms.server_calls(), tried, "the server is left alone for a while");

    scene.centre.start();
    scene.centre.advance(seconds(10));
    let records = scene.records();
    let (column, row) = (phone(), row("1"));
    let all = (0..50).map(|_| records.seal(&column, &row, b"x"));
    let sealed = futures_util::future::join_all(all).await;
    assert!(sealed.iter().all(Result::is_ok), "{:?}", sealed.iter().find_map(|one| one.as_ref().err()));
    assert_eq!(scene.calls(OPEN), 1);
}

#[tokio::test]
async fn a_lease_counts_from_when_the_request_was_sent() {
    let scene = scene();
    scene.hold_calls();
    let slow = tokio::spawn({
        let records = scene.records();
        async move { records.seal(&phone(), &row("1"), b"x").await }
    });
    until("the call has arrived", || scene.calls(OPEN) == 1).await;
    scene.centre.advance(seconds(40));
    scene.release_calls();
    slow.await.unwrap().unwrap();
    let lease = held(&scene.kms).unwrap();
    scene.centre.advance(seconds(19));
    assert!(lease.is_live());
    scene.centre.advance(seconds(1));
    assert!(!lease.is_live());
}

#[tokio::test]
async fn a_lease_that_was_over_on_arrival_is_not_used_but_asked_for_again_once() {
    let scene = scene();
    scene.hold_calls();
    let slow = tokio::spawn({
        let records = scene.records();
        async move { records.seal(&phone(), &row("1"), b"x").await }
    });
    until("the call has arrived", || scene.calls(OPEN) == 1).await;
    scene.centre.advance(seconds(60));
    scene.release_calls();
    slow.await.unwrap().unwrap();
    assert_eq!(scene.calls(OPEN), 2);

    scene.faults().twist_leased(|leased| leased.lease = Some(prost_types::Duration::default()));
    let payroll = scene.kms.records(&TENANT.parse().unwrap(), &"payroll".parse().unwrap());
    let error = payroll.seal(&phone(), &row("1"), b"x").await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
    assert_eq!(scene.calls(OPEN), 4);
}

#[tokio::test]
async fn at_its_end_a_lease_is_wiped_though_nobody_asks_and_somebody_holds_it() {
    let scene = scene();
    seal(&scene).await.unwrap();
    let lease = held(&scene.kms).unwrap();
    let own = lease.prepared_for_one(phone().table(), phone().column()).unwrap();
    let sealer = scene.records().sealer(&phone()).await.unwrap().unwrap();
    assert!(!lease.is_wiped() && !own.is_wiped());
    // The renewal is refused a connection, so that the lease runs to its end.
    scene.hold_calls();
    scene.centre.advance(seconds(60));
    until("the key is wiped", || lease.is_wiped()).await;
    until("the ciphers are wiped", || own.is_wiped()).await;
    assert!(held(&scene.kms).is_none());
    drop(sealer);
    scene.release_calls();
}

#[tokio::test]
async fn a_lease_in_use_is_renewed_ahead_of_its_end() {
    let scene = scene();
    seal(&scene).await.unwrap();
    let first = held(&scene.kms).unwrap();
    scene.centre.advance(seconds(35));
    seal(&scene).await.unwrap();
    assert_eq!(scene.calls(OPEN), 1, "not before six tenths");
    scene.centre.advance(seconds(14));
    until("it is renewed", || held(&scene.kms).is_some_and(|lease| !Arc::ptr_eq(&lease, &first))).await;
    assert_eq!(scene.calls(OPEN), 2);
    scene.centre.advance(seconds(30));
    seal(&scene).await.unwrap();
    assert_eq!(scene.calls(OPEN), 2, "nobody had to wait");
}

#[tokio::test]
async fn a_lease_that_nobody_uses_is_not_renewed() {
    let scene = scene();
    seal(&scene).await.unwrap();
    scene.centre.advance(seconds(49));
    until("it is renewed", || scene.calls(OPEN) == 2).await;
    until("the renewed one is at hand", || held(&scene.kms).is_some_and(|lease| !lease.was_touched())).await;
    scene.centre.advance(seconds(60));
    until("it has lapsed", || held(&scene.kms).is_none()).await;
    assert_eq!(scene.calls(OPEN), 2);
}

#[tokio::test]
async fn leases_due_together_are_renewed_in_one_call() {
    let scene = scene();
    let sealed = seal(&scene).await.unwrap();
    scene.rotate(ATTENDANCE).await;
    let cold = scene.cold();
    let records = records(&cold);
    let newer = records.seal(&phone(), &row("1"), b"x").await.unwrap();
    for sealed in [&sealed, &newer] {
        records.open(&phone(), &row("1"), sealed).await.unwrap();
    }
    assert_eq!(scene.calls(OPEN), 4);
    let centre = scene.centre.clone();
    drop(scene);
    centre.advance(seconds(49));
    until("they are renewed", || centre.calls_of(OPEN) >= 5).await;
    records.seal(&phone(), &row("1"), b"x").await.unwrap();
    assert_eq!(centre.calls_of(OPEN), 5);
}

#[tokio::test]
async fn a_renewal_that_is_refused_ends_the_lease_at_once() {
    let scene = scene();
    seal(&scene).await.unwrap();
    let lease = held(&scene.kms).unwrap();
    scene.centre.restrict(ATTENDANCE, Rights::none());
    scene.centre.advance(seconds(49));
    until("the lease is wiped", || lease.is_wiped()).await;
    assert!(lease.is_live(), "its time was not over");
    assert_eq!(seal(&scene).await.unwrap_err().reason(), Some(Reason::KeyNotAccessible));
}

#[tokio::test]
async fn a_renewal_that_fails_lets_the_lease_run_on_and_is_tried_again() {
    let scene = scene();
    seal(&scene).await.unwrap();
    let first = held(&scene.kms).unwrap();
    let failures = std::iter::repeat_with(|| kms_proto::refusal::status(Reason::Overloaded, "", None, None));
    scene.fail(failures.take(6));
    scene.centre.advance(seconds(49));
    until("it was tried", || scene.calls(OPEN) == 7).await;
    seal(&scene).await.unwrap();
    assert!(!first.is_wiped());
    until("another try is planned", || scene.kms.shared.leases.agenda.lock().len() == 2).await;
    scene.centre.advance(seconds(5));
    until("it is renewed", || held(&scene.kms).is_some_and(|lease| !Arc::ptr_eq(&lease, &first))).await;
}

#[tokio::test]
async fn a_denial_is_not_remembered() {
    let scene = scene();
    scene.centre.restrict(ATTENDANCE, Rights::none());
    for calls in 1..=3 {
        assert_eq!(seal(&scene).await.unwrap_err().reason(), Some(Reason::KeyNotAccessible));
        assert_eq!(scene.calls(OPEN), calls);
    }
    scene.centre.restrict(ATTENDANCE, Rights::all());
    seal(&scene).await.unwrap();
}

#[tokio::test]
async fn no_field_key_seals_more_than_its_budget_and_all_seals_are_reported() {
    let scene = scene();
    scene.faults().limit_budget(10);
    let (column, rows) = (phone(), (0..35).map(|n| row(&n.to_string())).collect::<Vec<_>>());
    let items: Vec<_> =
        rows.iter().map(|record| crate::ToSealField { column: &column, record, plaintext: b"x" }).collect();
    let sealed = scene.records().seal_batch(&items).await;
    assert!(sealed.iter().all(Result::is_ok));
    until("leases were taken for 35 seals", || scene.calls(OPEN) >= 4).await;

    drop(held(&scene.kms));
    scene.centre.advance(seconds(60));
    seal(&scene).await.unwrap();
    let reported = || {
        let asked = scene.faults().asked::<OpenDataKeysRequest>();
        asked.iter().flat_map(|asked| &asked.reports).map(|report| report.seals).sum::<u64>()
    };
    until("35 seals are reported", || reported() == 35).await;
}

#[tokio::test]
async fn a_budget_is_renewed_before_it_is_spent() {
    let scene = scene();
    scene.faults().limit_budget(100);
    let first = {
        seal(&scene).await.unwrap();
        held(&scene.kms).unwrap()
    };
    for _ in 1..75 {
        seal(&scene).await.unwrap();
    }
    seal(&scene).await.unwrap();
    until("it is renewed", || held(&scene.kms).is_some_and(|lease| !Arc::ptr_eq(&lease, &first))).await;
    assert_eq!(scene.calls(OPEN), 2);
}

#[tokio::test]
async fn budgets_are_each_field_keys_own() {
    let scene = scene();
    scene.faults().limit_budget(3);
    let records = scene.records();
    for column in ["phone", "name", "location"] {
        let column = crate::Column::randomized("checkins", column).unwrap();
        for _ in 0..2 {
            records.seal(&column, &row("1"), b"x").await.unwrap();
        }
    }
    assert_eq!(scene.calls(OPEN), 1);
}

#[tokio::test]
async fn what_is_leased_to_seal_is_not_used_to_open() {
    let scene = scene();
    let sealed = seal(&scene).await.unwrap();
    scene.records().open(&phone(), &row("1"), &sealed).await.unwrap();
    assert_eq!(scene.calls(OPEN), 2, "policy decides on each");
}

#[tokio::test]
async fn a_lease_of_one_tenant_or_purpose_is_not_used_for_another() {
    let scene = scene();
    let sealed = seal(&scene).await.unwrap();
    scene.records().open(&phone(), &row("1"), &sealed).await.unwrap();
    let stranger = scene.kms.records(&"other".parse().unwrap(), &ATTENDANCE.parse().unwrap());
    let error = stranger.open(&phone(), &row("1"), &sealed).await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), (Some(Reason::KeyNotAccessible), 5));
    let calls = scene.calls(OPEN);
    scene.records().with_purpose("billing").open(&phone(), &row("1"), &sealed).await.unwrap();
    assert_eq!(scene.calls(OPEN), calls + 1);
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_for_is_refused() {
    let twists: [fn(&mut LeasedDataKey); 6] = [
        |leased| leased.key = "payroll".into(),
        |leased| leased.data_key_id = 0,
        |leased| leased.data_key_id = 1 << 31 | 5,
        |leased| leased.data_key.truncate(31),
        |leased| leased.lease = None,
        |leased| leased.budget = 0,
    ];
    for twist in twists {
        let scene = scene();
        scene.faults().twist_leased(twist);
        let error = seal(&scene).await.unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error}");
        assert!(held(&scene.kms).is_none());
    }
    let scene = scene();
    let sealed = seal(&scene).await.unwrap();
    scene.faults().twist_leased(|leased| leased.version_id += 1);
    let error = scene.records().open(&phone(), &row("1"), &sealed).await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealer_on_a_thread_of_its_own_renews_its_budget_ahead() {
    let scene = scene();
    scene.faults().limit_budget(1_024);
    let mut sealer = scene.records().sealer(&phone()).await.unwrap().unwrap();
    let first = held(&scene.kms).unwrap();
    let sealing = std::thread::spawn(move || {
        for _ in 0..1_024 {
            sealer.seal(&row("1"), b"x").unwrap();
        }
    });
    tokio::task::spawn_blocking(move || sealing.join().unwrap()).await.unwrap();
    until("it is renewed", || held(&scene.kms).is_some_and(|lease| !Arc::ptr_eq(&lease, &first))).await;
    assert_eq!(scene.calls(OPEN), 2);
}

#[tokio::test]
async fn a_server_that_fails_wipes_no_lease_and_one_that_decides_does() {
    let failing = [Reason::DeadlineExceeded, Reason::Internal, Reason::StorageFull, Reason::FieldInvalid];
    let mut statuses: Vec<_> =
        failing.iter().map(|reason| (kms_proto::refusal::status(*reason, "", None, None), false)).collect();
    statuses.extend([
        (tonic::Status::unknown("newer"), false),
        (tonic::Status::permission_denied("newer"), true),
        (kms_proto::refusal::status(Reason::TenantSuspended, "", None, None), true),
    ]);
    for (status, ends) in statuses {
        let scene = scene();
        seal(&scene).await.unwrap();
        let lease = held(&scene.kms).unwrap();
        scene.fail([status.clone()]);
        scene.centre.advance(seconds(49));
        if ends {
            until("the lease is wiped", || lease.is_wiped()).await;
            continue;
        }
        // What ends the first lease is its end; another try is made before.
        until("another try is planned", || {
            scene.calls(OPEN) == 2 && scene.kms.shared.leases.agenda.lock().len() == 2
        })
        .await;
        assert!(!lease.is_wiped(), "{status:?}");
        seal(&scene).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_too_slow_is_left_alone_for_a_while() {
    let scene = scene();
    let slow = kms_proto::refusal::status(Reason::DeadlineExceeded, "", None, None);
    scene.fail([slow]);
    for _ in 0..10 {
        assert_eq!(seal(&scene).await.unwrap_err().reason(), Some(Reason::DeadlineExceeded));
    }
    assert_eq!(scene.calls(OPEN), 1);
    scene.centre.advance(seconds(10));
    seal(&scene).await.unwrap();
}
