//! Rows of a derived struct with five protected fields, beside the same values sealed and opened as a batch of bare ones. Warm: no
//! call is made but to renew budgets. Counted in processor time, so that it means something on a machine that does other work too.

#![expect(clippy::unwrap_used, reason = "where setting up fails there is nothing to measure")]

mod measure;

use kms_client::{
    Column, Kms, Profile, Protect, RecordId, Records, ToOpenField, ToSealField,
    api::{CreateKey, CreateTenant},
};
use kms_tests::Place;
use measure::{CPU, in_turns, took};
use tokio::runtime::Runtime;

#[derive(Clone, Protect)]
#[protect(table = "people", key = "attendance", tenant = "company_id", bind("id"))]
struct Person {
    company_id: String,
    id: u64,
    #[protect(encrypt)]
    name: String,
    #[protect(encrypt)]
    phone: String,
    #[protect(encrypt)]
    email: String,
    #[protect(encrypt)]
    street: String,
    #[protect(encrypt)]
    born: i64,
}

const COLUMNS: [&str; 5] = ["name", "phone", "email", "street", "born"];

fn person(id: u64) -> Person {
    Person {
        company_id: "acme".into(),
        id,
        name: format!("Li Lei {id}"),
        phone: "138 0013 8000".into(),
        email: "li.lei@example.com".into(),
        street: "Nanjing Road 17, Shanghai".into(),
        born: 19_900_101,
    }
}

/// What the derive does by itself: the same values under the same names, ready to be sealed.
struct Bare {
    columns: Vec<Column>,
    records: Vec<RecordId>,
    values: Vec<[Vec<u8>; 5]>,
}

impl Bare {
    fn of(rows: &[Person]) -> Self {
        let columns = COLUMNS.map(|column| Column::randomized("people", column).unwrap()).into();
        let records = rows.iter().map(|row| RecordId::try_from(row.id.to_string().as_bytes()).unwrap());
        let values = rows.iter().map(|row| {
            let born = row.born.to_string();
            [&row.name, &row.phone, &row.email, &row.street, &born].map(|value| value.clone().into_bytes())
        });
        Self { columns, records: records.collect(), values: values.collect() }
    }

    fn to_seal(&self) -> Vec<ToSealField<'_>> {
        let mut items = Vec::with_capacity(self.values.len() * COLUMNS.len());
        for (record, values) in self.records.iter().zip(&self.values) {
            let columns = self.columns.iter().zip(values);
            items.extend(columns.map(|(column, plaintext)| ToSealField { column, record, plaintext }));
        }
        items
    }

    fn to_open<'a>(&'a self, sealed: &'a [Vec<u8>]) -> Vec<ToOpenField<'a>> {
        let place = |at: usize| (&self.columns[at % 5], &self.records[at / 5]);
        let item = |(at, ciphertext): (usize, &'a Vec<u8>)| {
            let (column, record) = place(at);
            ToOpenField { column, record, ciphertext }
        };
        sealed.iter().enumerate().map(item).collect()
    }
}

async fn warm(place: &Place) -> (Kms, Records) {
    let client = async |name| Kms::connect(Profile::load(place.profile(name)).unwrap()).await.unwrap();
    let (operator, kms) = (client("operator").await, client("attendance").await);
    let (tenant, key) = ("acme".parse().unwrap(), "attendance".parse().unwrap());
    operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
    operator.create_key(&tenant, &key, CreateKey::default()).await.unwrap();
    let records = kms.records(&tenant, &key);
    (kms, records)
}

/// Fields that are sealed or opened in one turn.
const FIELDS: usize = 50_000;
const ROUNDS: usize = 40;

fn compare(count: u64, runtime: &Runtime, kms: &Kms, records: &Records) {
    let rows: Vec<Person> = (0..count).map(person).collect();
    let bare = Bare::of(&rows);
    let twins: Vec<SealedPerson> =
        runtime.block_on(kms.seal_all(&rows)).into_iter().collect::<Result<_, _>>().unwrap();
    let sealed = runtime.block_on(records.seal_batch(&bare.to_seal()));
    let sealed: Vec<Vec<u8>> = sealed.into_iter().collect::<Result<_, _>>().unwrap();
    let opened = runtime.block_on(kms.open_all(twins.clone()));
    assert!(opened.iter().all(Result::is_ok));

    let times = FIELDS / sealed.len();
    let repeat = |work: &dyn Fn()| took(|| (0..times).for_each(|_| work()));
    let turns = in_turns(
        ROUNDS,
        &mut [
            &mut || repeat(&|| drop(runtime.block_on(records.seal_batch(&bare.to_seal())))),
            &mut || repeat(&|| drop(runtime.block_on(kms.seal_all(&rows)))),
            // Both open what was just read, and are done with it then; what the copies cost is not counted.
            &mut || {
                let mut copies: Vec<_> = (0..times).map(|_| sealed.clone()).collect();
                let open =
                    |sealed: Vec<_>| drop(runtime.block_on(records.open_batch(&bare.to_open(&sealed))));
                took(|| copies.drain(..).for_each(open))
            },
            &mut || {
                let mut copies: Vec<_> = (0..times).map(|_| twins.clone()).collect();
                took(|| copies.drain(..).for_each(|twins| drop(runtime.block_on(kms.open_all(twins)))))
            },
        ],
    );
    for (what, bare, derived) in [("sealed", 0, 1), ("opened", 2, 3)] {
        let each = |contender| turns.least(contender, CPU).as_nanos() / (times * sealed.len()) as u128;
        println!(
            "{count} rows of five fields {what}: {:.2}x of bare fields (at most 1.3); {} ns against {} ns a field",
            turns.ratio(derived, bare, CPU),
            each(derived),
            each(bare),
        );
    }
}

fn main() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let _server = place.start();
    let (kms, records) = runtime.block_on(warm(&place));
    for count in [1, 10, 1_000] {
        compare(count, &runtime, &kms, &records);
    }
}
