//! A child process that rewards completions: started once, asked line by line, started again if it ends. Knows the protocol's lines,
//! not their use.

use super::{
    protocol::{Job, RewardFailure, response},
    transport::{Bounds, Event, LARGEST_RESPONSE, pause},
};
use anyhow::{Context, Result};
use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a child may take to end by itself, once its standard input is closed.
const GRACE: Duration = Duration::from_secs(2);

/// A batch that was sent.
struct Flight {
    job: Job,
    /// How often it was sent.
    attempts: usize,
}

/// The thread's state.
struct Owner {
    command: String,
    folder: Option<PathBuf>,
    who: String,
    bounds: Bounds,
    events: Sender<Event>,
    process: Option<Process>,
    /// Number of processes started so far.
    started: usize,
    waiting: VecDeque<Job>,
    flights: VecDeque<Flight>,
    /// When the child last answered, or was asked with nothing else to do.
    progress: Instant,
    /// Why no batch can be rewarded any more.
    failure: Option<RewardFailure>,
}

/// A running process.
struct Process {
    number: usize,
    child: Child,
    /// Lines for its standard input, which is closed with this.
    requests: Sender<String>,
}

/// Starts the command, in a folder or the current one; what is sent to the first value are batches, and the thread ends after [`Event::Stop`].
///
/// # Errors
/// A shell that cannot be started.
pub(super) fn start(
    command: &str,
    folder: Option<&Path>,
    who: String,
    bounds: Bounds,
) -> Result<(Sender<Event>, JoinHandle<()>)> {
    let (events, received) = channel();
    let mut owner = Owner {
        command: command.into(),
        folder: folder.map(Path::to_path_buf),
        who,
        bounds,
        events: events.clone(),
        process: None,
        started: 0,
        waiting: VecDeque::new(),
        flights: VecDeque::new(),
        progress: Instant::now(),
        failure: None,
    };
    owner.process = Some(owner.new_process().with_context(|| format!("cannot start {}", owner.who))?);
    Ok((events, thread::spawn(move || owner.run(&received))))
}

impl Owner {
    fn run(mut self, received: &Receiver<Event>) {
        loop {
            self.send_waiting();
            let event = match self.flights.is_empty() {
                true => received.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => received.recv_timeout(self.bounds.timeout.saturating_sub(self.progress.elapsed())),
            };
            let current = self.process.as_ref().map(|process| process.number);
            match event {
                Ok(Event::Job(job)) => self.waiting.push_back(job),
                Ok(Event::Line(number, line)) if Some(number) == current => self.read(&line),
                Ok(Event::Closed(number)) if Some(number) == current => self.ended(),
                // Of a process that was replaced.
                Ok(Event::Line(..) | Event::Closed(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.try_again(&format!("did not answer within {} s", self.bounds.timeout.as_secs_f64()));
                }
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(process) = self.process.take() {
            process.close();
        }
    }

    /// Sends what there is room for; answers everything at once after a failure.
    fn send_waiting(&mut self) {
        if let Some(failure) = self.failure.clone() {
            let flights = self.flights.drain(..).map(|flight| flight.job);
            flights.chain(self.waiting.drain(..)).for_each(|job| job.answer(Err(failure.clone())));
            return;
        }
        while self.flights.len() < self.bounds.in_flight {
            let Some(job) = self.waiting.pop_front() else { break };
            if self.flights.is_empty() {
                self.progress = Instant::now();
            }
            self.flights.push_back(Flight { job, attempts: 0 });
            match &self.process {
                Some(process) => {
                    process.ask(&self.flights.back_mut().expect("it was just put there").sent());
                }
                None => self.start_again(),
            }
        }
    }

    /// A line of the child: the rewards of a batch.
    fn read(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let asked = match self.flights.front() {
            Some(flight) => format!("it was asked for {}", flight.job.name()),
            None => "it was not asked for anything".into(),
        };
        let read = response(line).map_err(|told| format!("{told}; standard output is for answers alone; {asked}"));
        let found = read.and_then(|response| {
            let place = match response.id {
                None => (!self.flights.is_empty()).then_some(0),
                Some(id) => self.flights.iter().position(|flight| flight.job.id == id),
            };
            let place = place.ok_or_else(|| match response.id {
                Some(id) => format!("answered batch {id}, which is not waiting for an answer; {asked}"),
                None => format!("answered; {asked}"),
            })?;
            Ok((place, self.flights[place].job.rewards(response)?))
        });
        match found {
            Ok((place, rewards)) => {
                self.progress = Instant::now();
                let flight = self.flights.remove(place).expect("the place was found");
                flight.job.answer(Ok(rewards));
            }
            Err(told) => self.fail(format!("{} {told}", self.who)),
        }
    }

    /// The child has closed its standard output.
    fn ended(&mut self) {
        let status = self.process.take().and_then(Process::end);
        let told = match status {
            Some(status) => format!("ended ({status})"),
            None => "closed its standard output".into(),
        };
        match status.and_then(|status| status.code()) {
            // What a shell says of a command that it does not find, or cannot run.
            Some(126 | 127) => self.fail(format!("{} cannot be run ({told})", self.who)),
            _ if self.flights.is_empty() => {}
            _ => self.try_again(&told),
        }
    }

    /// Sends the batches that were not answered to a new child, or gives up.
    fn try_again(&mut self, told: &str) {
        let Some(worst) = self.flights.iter().rev().max_by_key(|flight| flight.attempts) else { return };
        let (attempts, retries) = (worst.attempts, self.bounds.retries);
        if attempts > retries {
            let times = if attempts == 1 { "once".into() } else { format!("{attempts} times") };
            return self.fail(format!("{} {told}, asked {times} for {}", self.who, worst.job.name()));
        }
        tracing::warn!("{} {told}: it is started again ({attempts} of {retries})", self.who);
        thread::sleep(pause(attempts));
        self.start_again();
    }

    fn start_again(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
        self.progress = Instant::now();
        match self.new_process() {
            Ok(process) => {
                self.flights.iter_mut().for_each(|flight| process.ask(&flight.sent()));
                self.process = Some(process);
            }
            Err(error) => self.fail(format!("cannot start {}: {error}", self.who)),
        }
    }

    fn fail(&mut self, told: String) {
        self.failure.get_or_insert(RewardFailure(told));
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    fn new_process(&mut self) -> io::Result<Process> {
        self.started += 1;
        let number = self.started;
        let mut shell = shell(&self.command);
        if let Some(folder) = &self.folder {
            shell.current_dir(folder);
        }
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (requests, received) = channel();
        if let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) {
            let events = self.events.clone();
            thread::spawn(move || write_requests(stdin, &received));
            thread::spawn(move || read_lines(stdout, number, &events));
        }
        Ok(Process { number, child, requests })
    }
}

impl Flight {
    /// The request, counted as an attempt.
    fn sent(&mut self) -> String {
        self.attempts += 1;
        self.job.request()
    }
}

impl Process {
    fn ask(&self, request: &str) {
        // A process that has ended is noticed by its closed output.
        let _ = self.requests.send(format!("{request}\n"));
    }

    /// Closes its standard input, waits a little for it to end, and kills it if it does not.
    fn close(mut self) {
        let (closed, _) = channel();
        drop(std::mem::replace(&mut self.requests, closed));
        if self.wait_until(Instant::now() + GRACE).is_none() {
            self.kill();
        }
    }

    /// The status of a process that has closed its standard output; `None` if it had to be killed.
    fn end(mut self) -> Option<ExitStatus> {
        let status = self.wait_until(Instant::now() + GRACE);
        if status.is_none() {
            self.kill();
        }
        status
    }

    fn wait_until(&mut self, end: Instant) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }

    /// Kills it with everything that it has started, and waits, so that no zombie is left.
    fn kill(mut self) {
        kill_group(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command in a shell, in a process group of its own: Ctrl-C in a terminal ends a run after its step, which needs its rewards.
#[cfg(unix)]
fn shell(command: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).process_group(0);
    shell
}

#[cfg(not(unix))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

#[cfg(unix)]
fn kill_group(leader: u32) {
    // SAFETY: no memory is involved; a group that has ended is an error, which is of no interest.
    unsafe { libc::kill(-(leader as libc::pid_t), libc::SIGKILL) };
}

#[cfg(not(unix))]
fn kill_group(_leader: u32) {}

fn write_requests(mut stdin: ChildStdin, received: &Receiver<String>) {
    for request in received {
        if stdin.write_all(request.as_bytes()).and_then(|()| stdin.flush()).is_err() {
            break;
        }
    }
}

fn read_lines(stdout: ChildStdout, number: usize, events: &Sender<Event>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match stdout.by_ref().take(LARGEST_RESPONSE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if events.send(Event::Line(number, String::from_utf8_lossy(&line).into_owned())).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Closed(number));
}
