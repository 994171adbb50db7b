//! One user: opens a session, calls, thinks, calls again, until it is told to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::client::{Client, Era};
use super::dice::Dice;
use super::failure::Failure;
use super::load::{Load, Step};
use super::tally::Tally;
use super::target::Target;

/// A call without an answer by then has failed.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// Pause after a failure that names none.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause a server may ask for.
const PAUSE_MOST: Duration = Duration::from_secs(5);
/// How long leaving may take: deleting what is left behind, ending the session.
const FAREWELL: Duration = Duration::from_secs(2);

/// What all users share.
pub(crate) struct Crowd {
    pub(crate) target: Arc<Target>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) load: Load,
    pub(crate) eras: Vec<Era>,
    pub(crate) users: usize,
    /// Shortest time to think; the longest is twice that.
    pub(crate) think: Duration,
    /// Tells the scores of this run from those of another.
    pub(crate) run: u32,
}

/// Lives until `stop` says so.
pub(crate) async fn live(crowd: Arc<Crowd>, number: usize, stop: watch::Receiver<bool>) {
    let era = crowd.eras.get(number % crowd.eras.len().max(1)).copied();
    let source = crowd.target.source(number);
    let target = Arc::clone(&crowd.target);
    let mut user = User {
        client: Client::new(target, source, era.unwrap_or(Era::Legacy)),
        dice: Dice::new(number),
        crowd,
        number,
        stop,
    };
    // Users do not start at the same moment.
    let first = user.crowd.think.mul_f64(2.0 * user.dice.roll());
    user.rest(first).await;
    let mut round = 0;
    while !*user.stop.borrow() {
        let rest = match user.round(round).await {
            Ok(()) => user.crowd.think.mul_f64(1.0 + user.dice.roll()),
            Err(failure) => user.pause(&failure),
        };
        round += 1;
        user.rest(rest).await;
    }
    let _ = timeout(FAREWELL, user.leave()).await;
}

struct User {
    crowd: Arc<Crowd>,
    number: usize,
    client: Client,
    dice: Dice,
    stop: watch::Receiver<bool>,
}

impl User {
    async fn round(&mut self, round: usize) -> Result<(), Failure> {
        if !self.client.is_open() {
            let begun = Instant::now();
            let opened = timeout(CALL_DEADLINE, self.client.open()).await;
            self.count(begun, opened)?;
        }
        let crowd = &self.crowd;
        for step in crowd.load.round(crowd.run, self.number, crowd.users, round) {
            self.step(&step).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), Failure> {
        let begun = Instant::now();
        let answer = self.client.request(step.method, &step.params);
        let answer = timeout(CALL_DEADLINE, answer).await;
        let checked = answer.map(|answer| {
            let result = answer?;
            step.check(&result).map(|()| result)
        });
        self.count(begun, checked)
    }

    /// Counts a call and gives up the connection of one that is still on its way.
    fn count(
        &mut self,
        begun: Instant,
        outcome: Result<Result<Value, Failure>, tokio::time::error::Elapsed>,
    ) -> Result<(), Failure> {
        let outcome = outcome.unwrap_or_else(|_| {
            self.client.abandon();
            Err(Failure::deadline(CALL_DEADLINE))
        });
        let outcome = outcome.map(|_| ());
        self.crowd.tally.call(begun, outcome.as_ref().copied());
        outcome
    }

    /// How long to leave the server alone; not all users the same time.
    fn pause(&mut self, failure: &Failure) -> Duration {
        let pause = failure.retry_after.unwrap_or(PAUSE).min(PAUSE_MOST);
        pause.mul_f64(1.0 + 0.5 * self.dice.roll())
    }

    async fn rest(&mut self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            _ = self.stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Takes away what it left; these calls are not measured.
    async fn leave(&mut self) {
        if !self.client.is_open() {
            return;
        }
        let crowd = &self.crowd;
        for step in crowd.load.farewell(crowd.run, self.number, crowd.users) {
            if self
                .client
                .request(step.method, &step.params)
                .await
                .is_err()
            {
                break;
            }
        }
        self.client.close().await;
    }
}
