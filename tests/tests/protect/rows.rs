//! What a table of sealed rows must do, in whichever database.

/// Takes a pool, the statement that makes the table, and how the first parameter is written.
macro_rules! a_table_of_sealed_rows {
    ($scene:ident, $pool:ident, $ddl:expr, $first:literal) => {
        let sealed = |rows: Vec<_>| rows.into_iter().collect::<Result<Vec<SealedCheckIn>, _>>().unwrap();
        sqlx::query($ddl).execute(&$pool).await.unwrap();

        let rows: Vec<CheckIn> = (1..=1_000).map(checkin).collect();
        let before = $scene.service.server_calls();
        let twins = sealed($scene.service.seal_all(&rows).await);
        assert_eq!($scene.service.server_calls(), before + 1, "one call for a cold batch");
        sql::insert(&twins).unwrap().execute(&$pool).await.unwrap();

        let list = || async {
            let list = sqlx::query_as("SELECT * FROM checkins ORDER BY id");
            let list: Vec<SealedCheckIn> = list.fetch_all(&$pool).await.unwrap();
            list
        };
        let cold = $scene.cold().await;
        let before = cold.server_calls();
        let opened = cold.open_all(list().await).await;
        assert_eq!(cold.server_calls(), before + 1, "one call for a cold list");
        assert!(opened.iter().zip(&rows).all(|(opened, row)| opened.as_ref().unwrap() == row));
        cold.open_all(list().await).await;
        assert_eq!(cold.server_calls(), before + 1, "none for a warm one");

        // Opened as the database sends them, into the same rows, for the same one call.
        let cold = $scene.cold().await;
        let before = cold.server_calls();
        for _ in 0..2 {
            let sent = sqlx::query_as::<_, SealedCheckIn>("SELECT * FROM checkins ORDER BY id").fetch(&$pool);
            let opened: Vec<_> = cold.open_stream(sent).try_collect().await.unwrap();
            assert!(opened.into_iter().map(Result::unwrap).eq(rows.iter().cloned()));
            assert_eq!(cold.server_calls(), before + 1, "one call when cold, none when warm");
        }
        // Left in the middle, it leaves the pool as it was.
        let sent = sqlx::query_as::<_, SealedCheckIn>("SELECT * FROM checkins ORDER BY id").fetch(&$pool);
        let some: Vec<_> = cold.open_stream(sent).take(10).try_collect().await.unwrap();
        assert_eq!((some.len(), list().await.len()), (10, 1_000));

        // Rotation asks nothing of the application.
        let (tenant, key) = ("acme".parse().unwrap(), "attendance".parse().unwrap());
        $scene.operator.rotate_key(&tenant, &key, RotateKey::default()).await.unwrap();
        let later: Vec<CheckIn> = (1_001..=1_100).map(checkin).collect();
        let twins = sealed($scene.cold().await.seal_all(&later).await);
        sql::insert(&twins).unwrap().execute(&$pool).await.unwrap();
        let cold = $scene.cold().await;
        let before = cold.server_calls();
        let opened = cold.open_all(list().await).await;
        assert_eq!(cold.server_calls(), before + 1, "two versions of the key, one call");
        assert!(opened.iter().zip(rows.iter().chain(&later)).all(|(opened, row)| opened.as_ref().unwrap() == row));

        // Search finds the same rows before and after the index key is rotated, whoever wrote them.
        let search = |kms: kms_client::Kms| {
            let pool = $pool.clone();
            async move {
                let probes = CheckIn::phone_index(&kms, &"acme".parse().unwrap(), "(138) 0013-0042").await.unwrap();
                let mut query = sqlx::QueryBuilder::new("SELECT * FROM checkins WHERE phone_index IN (");
                let mut list = query.separated(", ");
                for probe in probes {
                    list.push_bind(probe);
                }
                list.push_unseparated(")");
                let found: Vec<SealedCheckIn> = query.build_query_as().fetch_all(&pool).await.unwrap();
                let opened = kms.open_all(found).await.into_iter().map(Result::unwrap);
                let wanted = |row: &CheckIn| row.phone.as_deref() == Some("138 0013 0042");
                opened.filter(wanted).map(|row| row.id).collect::<Vec<_>>()
            }
        };
        assert_eq!(search($scene.service.clone()).await, [Uuid::from_u128(42)]);
        let index = "attendance.index".parse().unwrap();
        $scene.operator.rotate_key(&tenant, &index, RotateKey::default()).await.unwrap();
        assert_eq!(search($scene.service.clone()).await, [Uuid::from_u128(42)]);
        assert_eq!(search($scene.cold().await).await, [Uuid::from_u128(42)]);

        // Equal values of a deterministic column are equal after rotation too: they are found, and unique.
        let again = CheckIn { id: Uuid::from_u128(5_000), ..checkin(17) };
        let again = cold.seal(&again).await.unwrap();
        let found = sqlx::query_as::<_, SealedCheckIn>(concat!("SELECT * FROM checkins WHERE badge = ", $first));
        let found = found.bind(&again.badge).fetch_all(&$pool).await.unwrap();
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [Uuid::from_u128(17)]);
        let twice = sql::insert(&[again]).unwrap().execute(&$pool).await.unwrap_err();
        assert!(twice.as_database_error().unwrap().is_unique_violation(), "{twice}");

        // A transaction rolled back takes its rows with it; what was sealed for it is nothing but bytes.
        let mut transaction = $pool.begin().await.unwrap();
        let row = cold.seal(&checkin(2_000)).await.unwrap();
        sql::insert(&[row]).unwrap().execute(&mut *transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(list().await.len(), 1_100);

        // Whoever writes to the database moves a value to another row: that row is refused, the rest is listed.
        let moved = "UPDATE checkins SET employee = (SELECT employee FROM checkins ORDER BY badge DESC LIMIT 1) \
                     WHERE badge = (SELECT badge FROM checkins ORDER BY badge LIMIT 1)";
        assert_eq!(sqlx::query(moved).execute(&$pool).await.unwrap().rows_affected(), 1);
        let opened = cold.open_all(list().await).await;
        let refused: Vec<_> = opened.iter().filter_map(|opened| opened.as_ref().err()).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].column(), refused[0].reason()), ("employee", Some(Reason::CiphertextRejected)));
    };
}

/// What every employee and every phone number begins with, which must not be in a database's files.
pub(crate) fn canaries() -> impl Iterator<Item = kms_tests::search::Needles> {
    [&b"employee number 0"[..], b"138 0013 0"].into_iter().map(kms_tests::search::Needles::of)
}

pub(crate) use a_table_of_sealed_rows;
