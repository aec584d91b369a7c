//! Sealing three columns of 1,000,000 rows against a copy through the same reader and writer that writes as many bytes, in turns:
//! `cargo bench -p kms-cli --bench columns [-- ROWS]`. The goal is 3× or less, under 64 MiB resident.
//!
//! The cipher is the one the product seals with, under a key made here: what a server call costs is measured by `kms bench`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run fails by panicking")]

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::{Duration, Instant},
};

use kms_cli::{
    columns::{
        Action, Format, Job, Table,
        cipher::{Answers, Cell, CellCipher},
        run,
    },
    failure::Failure,
    whole_file::{Readers, WholeFile},
};
use kms_core::{
    field::{Column, FieldCipher, text},
    id::{DataKeyId, VersionId},
    names::RecordId,
    secret::DataKey,
};

const COLUMNS: [&str; 3] = ["name", "phone", "location"];
const TURNS: usize = 5;

/// Seals as the product does.
struct Seals(Vec<FieldCipher>);

impl CellCipher for Seals {
    fn turn(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
        let mut row: Option<RecordId> = None;
        for cell in cells {
            if row.as_ref().is_none_or(|row| row.as_bytes() != cell.record) {
                row = Some(RecordId::try_from(cell.record).unwrap());
            }
            let sealed = self.0[cell.column].seal(row.as_ref().unwrap(), cell.content).unwrap();
            answers.done(|out| text::append(&sealed, out));
        }
        Ok(())
    }
}

/// Writes as many bytes, without sealing.
struct Copies;

impl CellCipher for Copies {
    fn turn(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
        for cell in cells {
            let length = 4 + ((cell.content.len() + 74) * 4).div_ceil(3);
            answers.done(|out| out.resize(out.len() + length, b'x'));
        }
        Ok(())
    }
}

fn main() {
    let rows: u64 = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in.csv"), dir.path().join("out.csv"));
    write_table(&input, rows);
    let ciphers = || {
        let data_key = DataKey::random().unwrap();
        let (tenant, table) = ("acme".parse().unwrap(), "checkins".parse().unwrap());
        let cipher = |name: &&str| {
            let column = name.parse().unwrap();
            let column = Column { tenant: &tenant, table: &table, column: &column };
            FieldCipher::new(&data_key, VersionId::from(7), DataKeyId::from(1), column)
        };
        Seals(COLUMNS.iter().map(cipher).collect())
    };
    let seals = ciphers();
    let (mut copied, mut sealed) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        copied.push(turn(&Copies, &input, &output));
        let bytes = fs::metadata(&output).unwrap().len();
        sealed.push(turn(&seals, &input, &output));
        assert_eq!(fs::metadata(&output).unwrap().len(), bytes, "both write as many bytes");
    }
    let (copy, seal) = (median(copied), median(sealed));
    println!(
        "{rows} rows, {} MB in, {} MB out",
        fs::metadata(&input).unwrap().len() / 1_000_000,
        fs::metadata(&output).unwrap().len() / 1_000_000
    );
    println!("copy {copy:.2?}, seal {seal:.2?}: {:.2}×", seal.as_secs_f64() / copy.as_secs_f64());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("peak resident: {}", peak.unwrap_or("unknown").trim());
}

fn turn(cipher: &impl CellCipher, input: &Path, output: &Path) -> Duration {
    let columns = COLUMNS.map(str::to_owned).to_vec();
    let table = Table { format: Format::Csv { delimiter: b',' }, id: "id".into(), columns };
    let job = Job { table, action: Action::Seal, again: false, keep_going: false, workers: 2 };
    let begun = Instant::now();
    let mut whole = WholeFile::create(output, Readers::Mode(0o666)).unwrap();
    run(&job, cipher, File::open(input).unwrap(), &mut whole, &|_| {}).unwrap();
    whole.finish().unwrap();
    begun.elapsed()
}

fn write_table(path: &Path, rows: u64) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    writeln!(out, "id,company_id,employee_id,name,phone,location,at").unwrap();
    for n in 0..rows {
        let (company, person) = (n % 40, n % 997);
        writeln!(out, "{n:07},company-{company},e-{person},Zoë Muster {person},+49 30 23125 {person:03},\"Musterstraße {person}, Berlin\",2026-11-02T07:43:05Z").unwrap();
    }
    out.flush().unwrap();
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
