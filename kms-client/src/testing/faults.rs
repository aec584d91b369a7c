//! What no key centre does that works as it should, for the tests of this crate: calls that wait, answers that do not leave or are
//! twisted, failures of any kind. All else they have from the key centre in memory itself.

use std::{any::Any, collections::VecDeque, fmt};

use kms_proto::v1::{
    LeasedDataKey, LeasedIndex, OpenDataKeysResponse, open_data_keys_response::item::Outcome,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Status;

/// What happens to calls beside what the key centre does.
pub(crate) struct Faults {
    /// While true, calls wait before anything is done.
    calls_wait: watch::Sender<bool>,
    /// While true, answers with data keys do not leave, although they are made.
    answers_wait: watch::Sender<bool>,
    /// Answers with data keys that were made.
    leased: watch::Sender<u64>,
    failures: Mutex<VecDeque<Status>>,
    twist: Mutex<Option<Twist>>,
    asked: Mutex<Vec<Asked>>,
    listened: Mutex<Vec<String>>,
}

/// Makes of an honest answer another.
type Twist = Box<dyn Fn(&mut dyn Any) + Send>;

/// A call as it came in.
struct Asked {
    request_id: Option<String>,
    message: Box<dyn Any + Send>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            calls_wait: watch::Sender::new(false),
            answers_wait: watch::Sender::new(false),
            leased: watch::Sender::new(0),
            failures: Mutex::default(),
            twist: Mutex::default(),
            asked: Mutex::default(),
            listened: Mutex::default(),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults {
    pub(crate) fn hold_calls(&self) {
        self.calls_wait.send_replace(true);
    }

    pub(crate) fn release_calls(&self) {
        self.calls_wait.send_replace(false);
    }

    pub(crate) fn hold_leases(&self) {
        self.answers_wait.send_replace(true);
    }

    pub(crate) fn release_leases(&self) {
        self.answers_wait.send_replace(false);
    }

    /// How many answers with data keys were made, whether or not they have left.
    pub(crate) fn leased(&self) -> u64 {
        *self.leased.borrow()
    }

    /// Answers to the next calls, whatever they are.
    pub(crate) fn fail(&self, with: impl IntoIterator<Item = Status>) {
        self.failures.lock().extend(with);
    }

    /// Twists all answers of a kind from now on, in place of what was twisted before.
    pub(crate) fn twist<A: 'static>(&self, twist: impl Fn(&mut A) + Send + 'static) {
        let twist = move |answer: &mut dyn Any| {
            if let Some(answer) = answer.downcast_mut() {
                twist(answer);
            }
        };
        *self.twist.lock() = Some(Box::new(twist));
    }

    pub(crate) fn twist_leased(&self, twist: impl Fn(&mut LeasedDataKey) + Send + 'static) {
        self.twist_outcomes(move |outcome| {
            if let Outcome::Leased(leased) = outcome {
                twist(leased);
            }
        });
    }

    /// Seals that a lease allows under one field key.
    pub(crate) fn limit_budget(&self, budget: u64) {
        self.twist_leased(move |leased| leased.budget = leased.budget.min(budget));
    }

    pub(crate) fn twist_index(&self, twist: impl Fn(&mut LeasedIndex) + Send + 'static) {
        self.twist_outcomes(move |outcome| {
            if let Outcome::Index(leased) = outcome {
                twist(leased);
            }
        });
    }

    fn twist_outcomes(&self, twist: impl Fn(&mut Outcome) + Send + 'static) {
        self.twist(move |answer: &mut OpenDataKeysResponse| {
            answer.items.iter_mut().filter_map(|item| item.outcome.as_mut()).for_each(&twist);
        });
    }

    /// Messages of a kind that came in, in order.
    pub(crate) fn asked<Q: Clone + 'static>(&self) -> Vec<Q> {
        let asked = self.asked.lock();
        asked.iter().filter_map(|asked| asked.message.downcast_ref()).cloned().collect()
    }

    /// Ids of all calls that came in, in order.
    pub(crate) fn request_ids(&self) -> Vec<String> {
        self.asked.lock().iter().filter_map(|asked| asked.request_id.clone()).collect()
    }

    /// Clients that began to listen to key events, in order.
    pub(crate) fn listened(&self) -> Vec<String> {
        self.listened.lock().clone()
    }

    pub(super) fn listens(&self, client_instance: String) {
        self.listened.lock().push(client_instance);
    }

    /// A call has come in.
    pub(super) async fn arrives<Q: Any + Send>(
        &self,
        request_id: Option<String>,
        message: Q,
    ) -> Result<(), Status> {
        self.asked.lock().push(Asked { request_id, message: Box::new(message) });
        drop(self.calls_wait.subscribe().wait_for(|wait| !wait).await);
        match self.failures.lock().pop_front() {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    /// An answer is to go out.
    pub(super) async fn leaves<A: Any + Send>(&self, mut answer: A) -> A {
        if let Some(twist) = &*self.twist.lock() {
            twist(&mut answer);
        }
        if (&answer as &dyn Any).is::<OpenDataKeysResponse>() {
            self.leased.send_modify(|times| *times += 1);
            drop(self.answers_wait.subscribe().wait_for(|wait| !wait).await);
        }
        answer
    }
}
