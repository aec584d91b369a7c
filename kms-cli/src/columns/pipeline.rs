//! Reader, workers and writer over bounded queues. Batches go round the workers in turn and come back in the same turn, so that
//! the order of rows is kept without sorting; an error travels in its place, so that the first in the file is the one reported.

use std::{
    io::{Read, Write},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Job,
    batch::Batch,
    cipher::{Answers, CellCipher},
    error::{CellProblem, ColumnsError},
    frame::BatchReader,
    turn::{NAMED_PROBLEMS, Turned, Turner},
};

const BATCH_BYTES: usize = 256 << 10;
/// Batches that may wait before and after each worker.
const WAITING: usize = 2;

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows without the header.
    pub rows: u64,
    /// Cells that were turned.
    pub cells: u64,
    /// The same, a column.
    pub cells_of: Vec<u64>,
    /// Cells that did not open and stay sealed.
    pub failed: u64,
    /// The first of them.
    pub problems: Vec<CellProblem>,
    /// Blank lines that were dropped.
    pub blank_lines: u64,
    /// Cells that looked sealed when they were sealed.
    pub sealed_again: u64,
    /// From the first byte to the last.
    pub elapsed: Duration,
}

/// Reads a table, turns its cells, and writes it; tells `progress` how many bytes of input are done. The caller throws the output
/// away where this fails.
///
/// # Errors
/// The first problem in the order of the file.
pub fn run<C: CellCipher>(
    job: &Job,
    cipher: &C,
    input: impl Read + Send,
    output: &mut impl Write,
    progress: &dyn Fn(u64),
) -> Result<Summary, ColumnsError> {
    let begun = Instant::now();
    let (mut reader, preamble) = BatchReader::start(input, &job.table, BATCH_BYTES)?;
    output.write_all(&preamble).map_err(ColumnsError::Write)?;
    let pool = Pool::default();
    let mut summary = Summary { cells_of: vec![0; job.table.columns.len()], ..Summary::default() };
    thread::scope(|scope| {
        let (mut to_workers, mut from_workers) = (Vec::new(), Vec::new());
        for _ in 0..job.workers.max(1) {
            let (to, tasks) = sync_channel(WAITING);
            let (results, from) = sync_channel(WAITING);
            to_workers.push(to);
            from_workers.push(from);
            let pool = &pool;
            scope.spawn(move || work(job, cipher, pool, &tasks, &results));
        }
        let reading = scope.spawn(|| read(&mut reader, &pool, to_workers));
        let written = write(&from_workers, &pool, output, progress, &mut summary);
        // Nobody waits for results any more: workers and reader end at their next step.
        drop(from_workers);
        let read = reading.join();
        written?;
        read.map_err(|_| ColumnsError::Lost)
    })?;
    output.flush().map_err(ColumnsError::Write)?;
    // INVARIANT: what was read was written; a batch that went missing must never pass for a shorter table.
    if reader.rows != summary.rows {
        return Err(ColumnsError::Lost);
    }
    reader.saw_all_columns()?;
    summary.blank_lines = reader.blank_lines;
    summary.cells = summary.cells_of.iter().sum();
    summary.elapsed = begun.elapsed();
    Ok(summary)
}

/// Buffers to use again: fresh ones cost more in page faults than their content in copying.
#[derive(Default)]
struct Pool {
    batches: Mutex<Vec<Batch>>,
    outputs: Mutex<Vec<Vec<u8>>>,
}

fn take<T: Default>(pool: &Mutex<Vec<T>>) -> T {
    pool.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
}

fn put<T>(pool: &Mutex<Vec<T>>, used: T) {
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(used);
}

type Task = Result<Batch, ColumnsError>;
type Outcome = Result<Turned, ColumnsError>;

fn read<R: Read>(reader: &mut BatchReader<'_, R>, pool: &Pool, workers: Vec<SyncSender<Task>>) {
    for worker in workers.iter().cycle() {
        let mut batch = take(&pool.batches);
        let task = match reader.next(&mut batch) {
            Ok(true) => Ok(batch),
            Ok(false) => return,
            Err(error) => Err(error),
        };
        let last = task.is_err();
        if worker.send(task).is_err() || last {
            return;
        }
    }
}

fn work<C: CellCipher>(
    job: &Job,
    cipher: &C,
    pool: &Pool,
    tasks: &Receiver<Task>,
    results: &SyncSender<Outcome>,
) {
    let answers = Answers::default();
    let mut turner = Turner {
        table: &job.table,
        action: job.action,
        keep_going: job.keep_going,
        again: job.again,
        cipher,
        answers,
    };
    for task in tasks {
        let outcome = task.and_then(|batch| {
            let turned = turner.turn(&batch, take(&pool.outputs));
            put(&pool.batches, batch);
            turned
        });
        let last = outcome.is_err();
        if results.send(outcome).is_err() || last {
            return;
        }
    }
}

fn write(
    workers: &[Receiver<Outcome>],
    pool: &Pool,
    output: &mut impl Write,
    progress: &dyn Fn(u64),
    summary: &mut Summary,
) -> Result<(), ColumnsError> {
    for worker in workers.iter().cycle() {
        // The reader ends in turn: the first worker without a result is the one after the last batch.
        let Ok(outcome) = worker.recv() else { return Ok(()) };
        let turned = outcome.map_err(|error| error.after(summary.cells_of.iter().sum()))?;
        output.write_all(&turned.bytes).map_err(ColumnsError::Write)?;
        progress(turned.read);
        summary.add(&turned);
        put(&pool.outputs, turned.bytes);
    }
    Ok(())
}

impl Summary {
    fn add(&mut self, turned: &Turned) {
        self.rows += turned.rows;
        self.failed += turned.failed;
        self.sealed_again += turned.sealed_again;
        for (sum, cells) in self.cells_of.iter_mut().zip(&turned.cells) {
            *sum += cells;
        }
        let room = NAMED_PROBLEMS.saturating_sub(self.problems.len());
        self.problems.extend(turned.problems.iter().take(room).cloned());
    }
}
