//! Windows by definition: every message is kept, and each window looks at all of them.

/// A message as the oracle has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) time: i64,
    pub(super) key: u8,
    /// In tenths.
    pub(super) value: Option<i32>,
}

/// A window.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    Hop(i64, i64),
    Slide(i64),
    Session(i64),
    Count(usize),
}

/// A record: key, start, end, and the values of its messages in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) key: u8,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) values: Vec<Option<i32>>,
}

/// All records of messages in the order of their times, by key, then in order.
pub(super) fn records(plan: Plan, heard: &[Heard]) -> Vec<Told> {
    let mut told = Vec::new();
    for key in 0..=u8::MAX {
        let of_key: Vec<Heard> = heard.iter().copied().filter(|h| h.key == key).collect();
        if of_key.is_empty() {
            continue;
        }
        told.extend(of_one(plan, &of_key).into_iter().map(|(start, end, messages)| Told {
            key,
            start,
            end,
            values: messages.iter().map(|message| message.value).collect(),
        }));
    }
    told
}

fn of_one(plan: Plan, heard: &[Heard]) -> Vec<(i64, i64, Vec<Heard>)> {
    let within = |from: i64, to: i64| -> Vec<Heard> {
        heard.iter().copied().filter(|h| (from..to).contains(&h.time)).collect()
    };
    let last = heard[heard.len() - 1].time;
    match plan {
        Plan::Hop(size, every) => {
            let starts = (-size / every..=last / every).map(|k| k * every);
            let windows = starts.map(|start| (start, start + size, within(start, start + size)));
            windows.filter(|(.., messages)| !messages.is_empty()).collect()
        }
        Plan::Slide(size) => (0..heard.len())
            .map(|i| {
                let time = heard[i].time;
                let messages = heard[..=i].iter().copied().filter(|h| h.time > time - size);
                (time - size, time, messages.collect())
            })
            .collect(),
        Plan::Session(gap) => {
            let mut sessions: Vec<Vec<Heard>> = Vec::new();
            for message in heard {
                match sessions.last_mut() {
                    Some(session) if message.time < session[session.len() - 1].time + gap => {
                        session.push(*message);
                    }
                    _ => sessions.push(vec![*message]),
                }
            }
            let ends = |session: &Vec<Heard>| (session[0].time, session[session.len() - 1].time);
            sessions
                .into_iter()
                .map(|session| (ends(&session).0, ends(&session).1 + gap, session))
                .collect()
        }
        Plan::Count(count) => heard
            .chunks_exact(count)
            .map(|chunk| (chunk[0].time, chunk[count - 1].time, chunk.to_vec()))
            .collect(),
    }
}
