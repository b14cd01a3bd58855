//! The log-watch thread: asks the broker about the life of the logs that are read, so that the consumer thread never waits for
//! an answer.
//!
//! Owns one client. It decides nothing: questions come in, facts go out as events of the consumer thread, one answer for each
//! question. [`crate::log_life`] says what the answers mean.
//!
//! Queue: questions, unbounded; the consumer thread has at most one per partition and one about topics unanswered. The thread
//! ends after the consumer thread, once its current call has returned ([`CALL`](crate::log_life::broker::CALL) at the longest);
//! no other thread joins it. If it ends before, the job ends with an error (H1).

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;

use super::consumer::Answers;
use super::kafka;
use crate::log_life::broker::{Asker, Committed, Topic};
use crate::log_life::{Facts, Point, Points, TopicId};
use crate::topic_partition::TopicPartition;

/// How often an idle client is polled.
const OFTEN: Duration = Duration::from_secs(1);

/// A question about one partition, or about topics.
#[derive(Debug, Clone)]
pub enum Question {
    /// The committed offset of a partition, and the life of the log to which it belongs.
    Start { key: TopicPartition, token: u64 },
    /// The newest of these fingerprints at which the log still holds the same message.
    Proof {
        key: TopicPartition,
        token: u64,
        points: Points,
    },
    /// The ids of these topics.
    Topics(Vec<String>),
}

/// The facts that answer one question, or why there are none.
#[derive(Debug)]
pub enum Answer {
    Start {
        key: TopicPartition,
        token: u64,
        /// The last value is where the log differs from the one in which the offset was committed.
        found: anyhow::Result<(Facts, Option<Committed>, Option<i64>)>,
    },
    Proof {
        key: TopicPartition,
        token: u64,
        /// The fingerprints that the question carried.
        points: Points,
        found: anyhow::Result<(Facts, Option<Point>)>,
    },
    Topics(anyhow::Result<HashMap<String, Topic>>),
}

impl Answer {
    fn failed(&self) -> bool {
        match self {
            Self::Start { found, .. } => found.is_err(),
            Self::Proof { found, .. } => found.is_err(),
            Self::Topics(found) => found.is_err(),
        }
    }
}

/// Sends questions to the log-watch thread.
pub struct LogWatch {
    /// Questions to the thread, which has the receiver. Dropped, the thread ends after the call it is in.
    questions: mpsc::Sender<Vec<Question>>,
}

impl LogWatch {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread, or the client refuses its settings.
    pub fn start(kafka: &kafka::Config, answers: Answers) -> anyhow::Result<Self> {
        let mut client = kafka.by_hand("log-watch")?;
        // The client does not join the group; the name is needed to ask for its committed offsets.
        client.set("group.id", &kafka.group);
        // The client reads single messages: a broker returns at least one batch, however large, and no prefetch is wanted.
        client
            .set("queued.max.messages.kbytes", "64")
            .set("fetch.message.max.bytes", "65536");
        let (questions, asked) = mpsc::channel();
        std::thread::Builder::new()
            .name("log-watch".to_owned())
            .spawn(move || run(&client, &asked, &answers))
            .context("cannot start the thread that asks about logs")?;
        Ok(Self { questions })
    }

    /// Sends questions; the answers come as events.
    ///
    /// # Errors
    /// The thread has ended. No question is answered any more, and a log that was not checked is not read.
    pub fn ask(&self, questions: Vec<Question>) -> anyhow::Result<()> {
        let sent = self.questions.send(questions);
        sent.ok()
            .context("the thread that asks brokers about the state of logs has ended; start again: reading goes on from the last commit")
    }
}

fn run(client: &ClientConfig, asked: &mpsc::Receiver<Vec<Question>>, answers: &Answers) {
    let mut asker: Option<Asker> = None;
    loop {
        let mut questions = match asked.recv_timeout(OFTEN) {
            Ok(questions) => questions,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // An idle client that is not polled would keep every line of its log.
                asker.iter().for_each(Asker::serve);
                continue;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        while let Ok(more) = asked.try_recv() {
            questions.extend(more);
        }
        let answered = match open(&mut asker, client) {
            Ok(asker) => answer(asker, questions),
            Err(error) => {
                let why = format!("{error:#}");
                let fail = |question| failed(question, &why);
                questions.into_iter().map(fail).collect()
            }
        };
        if answered.iter().any(Answer::failed) {
            // A client that remembers a deleted log may never read the one that replaced it.
            asker = None;
        }
        if !answers.give(answered) {
            return;
        }
    }
}

fn open<'a>(asker: &'a mut Option<Asker>, client: &ClientConfig) -> anyhow::Result<&'a Asker> {
    if asker.is_none() {
        *asker = Some(Asker::open(client)?);
    }
    asker.as_ref().context("the client was just opened")
}

fn failed(question: Question, why: &str) -> Answer {
    let error = || anyhow::anyhow!("{why}");
    match question {
        Question::Start { key, token } => Answer::Start {
            key,
            token,
            found: Err(error()),
        },
        Question::Proof { key, token, points } => Answer::Proof {
            key,
            token,
            points,
            found: Err(error()),
        },
        Question::Topics(_) => Answer::Topics(Err(error())),
    }
}

fn answer(asker: &Asker, questions: Vec<Question>) -> Vec<Answer> {
    let mut names: Vec<&str> = Vec::new();
    let mut starts: Vec<&TopicPartition> = Vec::new();
    for question in &questions {
        match question {
            Question::Start { key, .. } => {
                names.push(&key.topic);
                starts.push(key);
            }
            Question::Proof { key, .. } => names.push(&key.topic),
            Question::Topics(more) => names.extend(more.iter().map(String::as_str)),
        }
    }
    names.sort_unstable();
    names.dedup();
    let known = asker.topics(&names).and_then(|topics| {
        let committed = match starts.is_empty() {
            true => HashMap::new(),
            false => asker.committed(starts.into_iter())?,
        };
        Ok((topics, committed))
    });
    let (topics, mut committed) = match known {
        Ok(known) => known,
        Err(error) => {
            let why = format!("{error:#}");
            return questions
                .into_iter()
                .map(|question| failed(question, &why))
                .collect();
        }
    };
    let id = |topic: &str| -> anyhow::Result<Option<TopicId>> {
        match topics.get(topic) {
            Some(Topic::There(id)) => Ok(id.clone()),
            Some(Topic::Missing) | None => anyhow::bail!("topic {topic} does not exist"),
        }
    };
    questions
        .into_iter()
        .map(|question| match question {
            Question::Start { key, token } => {
                let committed = committed.remove(&key);
                let found = id(&key.topic).and_then(|id| {
                    let facts = asker.facts(&key, id)?;
                    let differs = match &committed {
                        Some(committed) => asker.differs_from(&key, committed, &facts)?,
                        None => None,
                    };
                    Ok((facts, committed, differs))
                });
                Answer::Start { key, token, found }
            }
            Question::Proof { key, token, points } => {
                let found = id(&key.topic).and_then(|id| {
                    let facts = asker.facts(&key, id)?;
                    let point = asker.find(&key, &points, &facts)?;
                    Ok((facts, point))
                });
                Answer::Proof {
                    key,
                    token,
                    points,
                    found,
                }
            }
            Question::Topics(names) => {
                let known = |name: String| topics.get(&name).cloned().map(|topic| (name, topic));
                Answer::Topics(Ok(names.into_iter().filter_map(known).collect()))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_ended_is_an_error_and_no_silence() {
        let (questions, asked) = mpsc::channel();
        let watch = LogWatch { questions };
        assert!(watch.ask(Vec::new()).is_ok());
        drop(asked);
        let error = watch.ask(Vec::new()).expect_err("nobody answers");
        assert!(error.to_string().contains("start again"), "{error}");
    }
}
