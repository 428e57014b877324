//! Every case of `corpus/requests`, against real origins: what lb takes, what it refuses, and that
//! no request is ever taken for a part of another.
//!
//! After each case further requests are sent, each with a marker of its own, on the same
//! connection if it is still open and on new ones. All must get their own answers, and the origin
//! must have seen what the case says and nothing else. Where that fails lb is out of step, which
//! no list excuses.

mod lane;
mod verdict;

use std::{collections::BTreeSet, fmt::Write as _};

use lb_tests::{
    cluster::Cluster,
    corpus::{self, Deviations, Subject},
    scratch::Scratch,
    sighting::Origin,
};

use self::lane::Lane;

/// What lb does not yet do as it should. It is about what is taken and refused only: being out of
/// step with an origin cannot be excused here.
const KNOWN_DEVIATIONS: Deviations = Deviations(&[]);

fn document(origins: &[Origin]) -> String {
    let mut document = String::new();
    let mut section = |title: &str, line: &dyn Fn(&Origin) -> String| {
        let _ = writeln!(document, "{title}:");
        for origin in origins {
            let _ = writeln!(document, "  {}: {{ {} }}", origin.name(), line(origin));
        }
    };
    section("entry_points", &|_| "address: \"127.0.0.1:0\"".to_owned());
    section("backends", &|origin| format!("url: \"http://{}\"", origin.address()));
    section("services", &|origin| format!("backends: [{}]", origin.name()));
    section("routes", &|origin| {
        let name = origin.name();
        format!(
            "entry_points: [{name}], service: {name}, rule: \"Method(`OPTIONS`) || \
             Host(`by-name`) || (PathPrefix(`/`) && !PathPrefix(`/no-route`))\""
        )
    });
    document
}

/// Runs all cases of a file against all origins.
async fn run(theme: &str) {
    let started = std::time::Instant::now();
    let cases = corpus::read(Subject::Requests, theme);
    let mut cluster = Cluster::start(0).await;
    // One worker has one pool, so what one case leaves behind the next one finds.
    cluster.add_proxy(&["--workers", "1"]).await;
    let scratch = Scratch::new();
    let origins = Origin::start_all(&scratch).await;
    cluster.apply(&document(&origins)).await;
    let mut lanes = Vec::new();
    for origin in &origins {
        let address = cluster.proxy(0).entry_point(origin.name()).await;
        lanes.push(Lane::new(origin, address).run(&cases));
    }
    let (mut wrong, mut failed) = (Vec::new(), BTreeSet::new());
    let [first, second, third] = lanes.try_into().ok().expect("three origins");
    let results = tokio::join!(first, second, third);
    for (name, is_out_of_step, what) in [results.0, results.1, results.2].into_iter().flatten() {
        if is_out_of_step {
            wrong.push(format!("OUT OF STEP: {name}: {what}"));
        } else if KNOWN_DEVIATIONS.reason(&name).is_none() {
            wrong.push(format!("{name}: {what}"));
        }
        failed.insert(name);
    }
    wrong.extend(KNOWN_DEVIATIONS.untrue(theme, &cases, &failed));
    let took = started.elapsed();
    println!("{theme}: {} cases against {} origins in {took:?}", cases.len(), origins.len());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

macro_rules! themes {
    ($($name:ident = $theme:literal;)*) => {
        $(#[tokio::test]
        async fn $name() {
            run($theme).await;
        })*

        #[test]
        fn every_file_of_requests_is_run() {
            let mut themes = [$($theme),*];
            themes.sort_unstable();
            assert_eq!(corpus::files(Subject::Requests), themes);
        }
    };
}

themes! {
    plain_requests = "basics";
    two_framings = "framing";
    lengths = "length";
    codings = "coding";
    chunked_bodies = "chunks";
    fields = "fields";
    hosts = "host";
    request_lines = "line";
    targets = "target";
    connections_that_go_on = "connection";
    limits = "limits";
    slow_deliveries = "slow";
}
