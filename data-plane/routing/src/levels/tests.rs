use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const WELL: Member =
    Member { priority: 0, is_local: false, is_eligible: true, is_enabled: true, weight: 1 };
const ILL: Member = Member { is_eligible: false, ..WELL };
const PANIC_AT_HALF: Settings = Settings { panic_threshold: 50, prefer_local: false };
const LOCAL_FIRST: Settings = Settings { panic_threshold: 0, prefer_local: true };

/// `well` of `all` members of a level.
fn level(priority: u8, well: usize, all: usize) -> Vec<Member> {
    (0..all).map(|n| Member { priority, is_eligible: n < well, ..WELL }).collect()
}

/// The percentage of requests that each level gets.
fn shares(settings: Settings, levels: &[Vec<Member>]) -> Vec<u32> {
    let members = levels.concat();
    let mut taken: BTreeMap<_, _> = members.iter().map(|member| (member.priority, 0)).collect();
    for n in 0..10_000_u64 {
        let draw = ((n << 32) / 10_000) as u32;
        if let Some(choice) = choose(settings, &members, draw) {
            *taken.entry(choice.priority).or_insert(0) += 1;
        }
    }
    taken.into_values().map(|count| (count + 50) / 100).collect()
}

fn admitted(settings: Settings, members: &[Member]) -> Vec<usize> {
    let Some(choice) = choose(settings, members, 0) else { return vec![] };
    (0..members.len()).filter(|n| choice.admits(members[*n])).collect()
}

#[test]
fn the_first_level_carries_all_while_five_of_seven_are_well() {
    let none = Settings::default();
    assert_eq!(shares(none, &[level(0, 7, 7), level(1, 7, 7)]), [100, 0]);
    assert_eq!(shares(none, &[level(0, 5, 7), level(1, 7, 7)]), [100, 0]);
}

#[test]
fn the_next_level_takes_what_is_missing() {
    let none = Settings::default();
    assert_eq!(shares(none, &[level(0, 1, 2), level(1, 2, 2)]), [70, 30]);
    assert_eq!(shares(none, &[level(3, 1, 4), level(5, 1, 4), level(9, 4, 4)]), [35, 35, 30]);
    assert_eq!(shares(none, &[level(0, 0, 3), level(1, 3, 3)]), [0, 100]);
}

#[test]
fn levels_that_are_not_whole_together_share_in_proportion() {
    assert_eq!(shares(Settings::default(), &[level(0, 1, 4), level(1, 1, 8)]), [67, 33]);
    assert_eq!(shares(Settings::default(), &[level(0, 0, 4), level(1, 1, 8)]), [0, 100]);
}

#[test]
fn health_is_weighed() {
    let heavy = Member { weight: 9, ..WELL };
    let backup = Member { priority: 1, ..WELL };
    assert_eq!(shares(Settings::default(), &[vec![heavy, ILL], vec![backup]]), [100, 0]);
    let heavy = Member { weight: 9, ..ILL };
    assert_eq!(shares(Settings::default(), &[vec![heavy, WELL], vec![backup]]), [14, 86]);
}

#[test]
fn below_the_threshold_everybody_enabled_takes_part() {
    let disabled = Member { is_enabled: false, ..WELL };
    let weightless = Member { weight: 0, ..WELL };
    let members = [WELL, ILL, ILL, disabled, weightless];
    assert_eq!(admitted(PANIC_AT_HALF, &members), [0, 1, 2]);
    assert_eq!(admitted(PANIC_AT_HALF, &[WELL, ILL]), [0], "half is not below half");
    assert_eq!(admitted(PANIC_AT_HALF, &[ILL, ILL, disabled]), [0, 1]);
    assert_eq!(admitted(Settings::default(), &members), [0]);
}

#[test]
fn nobody_panics_while_another_level_carries_all() {
    let backup = Member { priority: 1, ..WELL };
    assert_eq!(admitted(PANIC_AT_HALF, &[ILL, ILL, backup]), [2]);
    let ill_backup = Member { priority: 1, ..ILL };
    assert_eq!(admitted(PANIC_AT_HALF, &[ILL, ILL, ill_backup]), [0, 1]);
}

#[test]
fn nobody_is_chosen_where_nobody_may_be() {
    assert_eq!(choose(Settings::default(), &[ILL, ILL], 0), None);
    assert_eq!(choose(PANIC_AT_HALF, &[Member { is_enabled: false, ..WELL }], 0), None);
    assert_eq!(choose(PANIC_AT_HALF, &[], 0), None);
}

#[test]
fn the_own_zone_comes_first_while_half_of_it_is_well() {
    let (near, near_ill) = (Member { is_local: true, ..WELL }, Member { is_local: true, ..ILL });
    assert_eq!(admitted(LOCAL_FIRST, &[WELL, near, near_ill]), [1]);
    assert_eq!(admitted(LOCAL_FIRST, &[WELL, near, near_ill, near_ill]), [0, 1]);
    assert_eq!(admitted(LOCAL_FIRST, &[WELL, near_ill]), [0]);
    assert_eq!(admitted(LOCAL_FIRST, &[WELL, WELL]), [0, 1]);
    assert_eq!(admitted(Settings::default(), &[WELL, near]), [0, 1]);
}

#[test]
fn zones_do_not_count_across_levels_nor_in_panic() {
    let near_backup = Member { is_local: true, priority: 1, ..WELL };
    assert_eq!(admitted(LOCAL_FIRST, &[WELL, near_backup]), [0]);
    let near = Member { is_local: true, ..WELL };
    let both = Settings { prefer_local: true, ..PANIC_AT_HALF };
    assert_eq!(admitted(both, &[near, ILL, ILL]), [0, 1, 2]);
}

fn member() -> impl Strategy<Value = Member> {
    (0_u8..4, any::<bool>(), any::<bool>(), prop::bool::weighted(0.8), 0_u16..4).prop_map(
        |(priority, is_local, is_eligible, is_enabled, weight)| Member {
            priority,
            is_local,
            is_eligible,
            is_enabled,
            weight,
        },
    )
}

proptest! {
    #[test]
    fn somebody_is_chosen_whenever_somebody_may_be(
        members in prop::collection::vec(member(), 0..70),
        panic_threshold in 0_u8..=100,
        prefer_local: bool,
        draw: u32,
    ) {
        let settings = Settings { panic_threshold, prefer_local };
        let takes_part = |member: &&Member| member.is_enabled && member.weight > 0;
        let may_be = members
            .iter()
            .filter(takes_part)
            .any(|member| member.is_eligible || panic_threshold > 0);
        let choice = choose(settings, &members, draw);
        prop_assert_eq!(choice.is_some(), may_be);
        if let Some(choice) = choice {
            prop_assert!(members.iter().any(|member| choice.admits(*member)));
            for member in members.iter().filter(|member| choice.admits(**member)) {
                prop_assert!(takes_part(&member));
                prop_assert!(member.is_eligible || choice.is_panic);
                prop_assert!(!choice.is_panic || panic_threshold > 0);
                prop_assert!(!choice.is_local || prefer_local && member.is_local);
            }
        }
    }

    #[test]
    fn each_level_gets_its_health_of_all_requests(
        members in prop::collection::vec(member(), 1..30),
    ) {
        let mut left = 100.0;
        let mut healths = BTreeMap::new();
        for priority in 0..4_u8 {
            let of_level = || members.iter().filter(move |member| {
                member.priority == priority && member.is_enabled && member.weight > 0
            });
            let all: u32 = of_level().map(|member| u32::from(member.weight)).sum();
            if all == 0 {
                continue;
            }
            let well: u32 = of_level()
                .filter(|member| member.is_eligible)
                .map(|member| u32::from(member.weight))
                .sum();
            let health = (140.0 * f64::from(well) / f64::from(all)).min(left);
            left -= health;
            healths.insert(priority, health);
        }
        let total: f64 = healths.values().sum();
        prop_assume!(total > 0.0);
        let mut taken = BTreeMap::new();
        for n in 0..1_000_u64 {
            let choice = choose(Settings::default(), &members, ((n << 32) / 1_000) as u32);
            *taken.entry(choice.unwrap().priority).or_insert(0_u32) += 1;
        }
        for (priority, health) in healths {
            let got = f64::from(taken.get(&priority).copied().unwrap_or(0)) / 10.0;
            prop_assert!((got - health * 100.0 / total).abs() < 0.3, "{priority}: {got}");
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(
        mut members in prop::collection::vec(member(), 0..20),
        draw: u32,
    ) {
        let settings = Settings { panic_threshold: 40, prefer_local: true };
        let choice = choose(settings, &members, draw);
        members.reverse();
        prop_assert_eq!(choose(settings, &members, draw), choice);
    }
}
