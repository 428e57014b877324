//! Whether what happened is what a case wants.

use lb_tests::{
    corpus::{Case, Item, Step, Verdict},
    sighting::{Extent, Sighting},
    wire::End,
};

use super::lane::{Fault, Talk};

/// Every request the origin saw has its answer and the other way round, whatever the case is.
pub(super) fn check_step(talk: &mut Talk, sightings: &[Sighting]) {
    for sighting in sightings.iter().filter(|sighting| sighting.extent != Extent::Whole) {
        let what = format!("the origin could not read {sighting:?}");
        talk.faults.push(Fault { is_out_of_step: false, what });
    }
    let whole = sightings.iter().filter(|sighting| sighting.extent == Extent::Whole);
    let seen: Vec<_> = whole.map(Sighting::seen).collect();
    let answered: Vec<_> =
        talk.answers.iter().filter_map(|answer| answer.seen().map(str::to_owned)).collect();
    if seen != answered {
        talk.out_of_step(format!(
            "the origin saw {seen:?}, the client has answers to {answered:?}"
        ));
    }
    let garbled: Vec<_> = talk
        .answers
        .iter()
        .filter(|answer| {
            let is_bodyless = matches!(answer.status, 204 | 304);
            answer.seen().is_some_and(|seen| {
                !is_bodyless
                    && !seen.starts_with("HEAD ")
                    && answer.body != format!("{seen}\n").as_bytes()
            })
        })
        .map(|answer| format!("an answer with the body of another: {answer:?}"))
        .collect();
    for what in garbled {
        talk.out_of_step(what);
    }
    if let Some(End::Garbled(bytes)) = &talk.end {
        let what = format!("the client cannot read {bytes:?}");
        talk.out_of_step(what);
    }
}

/// How what happened differs from what the case says; nothing if it does not.
pub(super) fn differs(case: &Case, talk: &Talk, sightings: &[Sighting]) -> Option<String> {
    let accepted = || differs_from_accept(case, talk, sightings);
    let refused = || differs_from_refusal(case, talk, sightings);
    match case.verdict {
        Verdict::Accept => accepted(),
        Verdict::Refuse | Verdict::Cut => refused(),
        Verdict::Either => Some(format!("{}, and {}", accepted()?, refused()?)),
    }
}

fn differs_from_accept(case: &Case, talk: &Talk, sightings: &[Sighting]) -> Option<String> {
    let all = items(case, case.items.len(), talk, sightings);
    let (is_open, is_closed) = (talk.end.is_none(), talk.end == Some(End::Closed));
    if all.is_none() {
        let may_close = case.may_close || case.client.contains(&Step::Close);
        let is_right = if case.closes { is_closed } else { is_open || (may_close && is_closed) };
        return (!is_right)
            .then(|| format!("the connection should be otherwise: {}", talk.brief()));
    }
    if case.may_close && is_closed {
        let answered = talk.answers.len();
        if (1..case.items.len()).contains(&answered) {
            return items(case, answered, talk, sightings);
        }
    }
    all
}

fn differs_from_refusal(case: &Case, talk: &Talk, sightings: &[Sighting]) -> Option<String> {
    // What a case of either kind lists is for the way in which it is accepted.
    let before = if case.verdict == Verdict::Either { 0 } else { case.items.len() };
    let refusal = talk.answers.get(before);
    let is_refused = match refusal {
        Some(answer) => case.statuses.contains(&answer.status) && answer.seen().is_none(),
        None => case.may_say_nothing,
    };
    let is_closed = talk.end == Some(End::Closed) && talk.answers.len() <= before + 1;
    if is_refused && is_closed {
        let mut rest = Talk { answers: talk.answers.clone(), ..Talk::default() };
        rest.answers.truncate(before);
        return items(case, before, &rest, sightings);
    }
    let wanted = if case.may_say_nothing { " or nothing" } else { "" };
    Some(format!("wanted {:?}{wanted}, then the end: {}", case.statuses, talk.brief()))
}

/// How the first `count` items of a case differ from what happened, and nothing else did.
fn items(case: &Case, count: usize, talk: &Talk, sightings: &[Sighting]) -> Option<String> {
    let mut sightings = sightings.iter().filter(|sighting| sighting.extent == Extent::Whole);
    if talk.answers.len() != count {
        return Some(format!("wanted {count} answers: {}", talk.brief()));
    }
    for (item, answer) in case.items.iter().zip(&talk.answers).take(count) {
        let wanted = match item {
            Item::Local(status) if answer.status == *status && answer.seen().is_none() => continue,
            Item::Local(status) => return Some(format!("wanted {status}: {}", answer.brief())),
            Item::Request(wanted) => wanted,
        };
        let Some(sighting) = sightings.next() else {
            return Some(format!("{wanted:?} is not seen"));
        };
        let body = String::from_utf8_lossy(&wanted.body);
        if (&sighting.method, &sighting.target, sighting.body.as_str())
            != (&wanted.method, &wanted.target, &*body)
        {
            return Some(format!("wanted {wanted:?}, seen was {sighting:?}"));
        }
        if answer.seen() != Some(&sighting.seen()) || !answer.is_whole {
            return Some(format!("{wanted:?} was answered {answer:?}"));
        }
        let Some(fields) = &sighting.fields else { continue };
        let all = |name: &str| -> Vec<&str> {
            let of_name = fields.iter().filter(|(each, _)| each == name);
            of_name.map(|(_, value)| value.as_str()).collect()
        };
        for (name, value) in &wanted.with {
            if all(name) != [value] {
                return Some(format!("wanted `{name}: {value}` once, seen was {:?}", all(name)));
            }
        }
        if let Some(name) = wanted.without.iter().find(|name| !all(name).is_empty()) {
            return Some(format!("`{name}` should not be there: {:?}", all(name)));
        }
    }
    sightings.next().map(|extra| format!("nobody should have seen {extra:?}"))
}
