//! What lists of backends and breakers share: what may be asked of them, and their pages.

use axum::http::StatusCode;

use super::error::ApiError;

/// The most entries of one page.
const MOST: usize = 1_000;

/// Refuses a state that nothing of this list can be in, and a page of no possible size.
pub(super) fn check(
    (state, states): (Option<&str>, &[&str]),
    limit: Option<usize>,
) -> Result<(), ApiError> {
    let refused = |detail| Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    match (state, limit) {
        (Some(state), _) if !states.contains(&state) => {
            refused(format!("`{state}` is no state; ask for {}", states.join(", ")))
        }
        (_, Some(limit)) if !(1..=MOST).contains(&limit) => {
            refused(format!("a page has 1 to {MOST} entries; ask for such a `limit`"))
        }
        _ => Ok(()),
    }
}

/// Whether one of these texts holds what is looked for, in whatever letter case.
pub(super) fn holds(wanted: Option<&str>, texts: &[&String]) -> bool {
    wanted.is_none_or(|wanted| {
        let wanted = wanted.to_lowercase();
        texts.iter().any(|text| text.to_lowercase().contains(&wanted))
    })
}

/// Leaves the part behind the cursor, and gives the next one. A cursor is the place of the last
/// object before it, so a page is right even if that object is gone.
pub(super) fn page<T>(
    all: &mut Vec<T>,
    (limit, cursor): (Option<usize>, Option<&str>),
    place: impl Fn(&T) -> (&String, &String),
) -> Option<String> {
    if let Some((service, id)) = cursor.and_then(|cursor| cursor.split_once('/')) {
        all.retain(|one| {
            let (its_service, its_id) = place(one);
            (its_service.as_str(), its_id.as_str()) > (service, id)
        });
    }
    let limit = limit.unwrap_or(all.len());
    let is_last = all.len() <= limit;
    all.truncate(limit);
    let last = all.last().filter(|_| !is_last);
    last.map(place).map(|(service, id)| format!("{service}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_also_when_the_last_object_is_gone() {
        let all = || ["a", "b", "c"].map(|id| ("shop".to_owned(), id.to_owned())).to_vec();
        let read = |mut all: Vec<(String, String)>, cursor: Option<&str>| {
            let next = page(&mut all, (Some(2), cursor), |(service, id)| (service, id));
            (all.into_iter().map(|(_, id)| id).collect::<String>(), next)
        };
        assert_eq!(read(all(), None), ("ab".to_owned(), Some("shop/b".to_owned())));
        assert_eq!(read(all(), Some("shop/b")), ("c".to_owned(), None));
        let mut gone = all();
        gone.remove(1);
        assert_eq!(read(gone, Some("shop/b")), ("c".to_owned(), None));
    }

    #[test]
    fn a_state_that_is_none_and_a_page_of_no_size_are_refused() {
        let states = &["up", "down"][..];
        assert!(
            check((Some("up"), states), Some(1)).is_ok() && check((None, states), None).is_ok()
        );
        for (state, limit) in [(Some("red"), None), (None, Some(0)), (Some("up"), Some(1_001))] {
            assert!(check((state, states), limit).is_err(), "{state:?} {limit:?}");
        }
    }
}
