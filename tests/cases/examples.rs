//! Every example starts and answers.
//!
//! Entry points get ports of their own and backends become test backends; everything else is
//! applied as it stands in `examples/NAME/lb.yaml`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lb_model::{
    Bundle, Config, Document,
    api::BUNDLE_TYPE,
    document::Spanned,
    value::{Label, Labels},
};
use lb_tests::{
    backend::Backend, certificate::Pair, client::try_get, cluster::Cluster, control_plane::outcome,
    curl::curl, eventually::eventually,
};
use reqwest::Method;

fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let entries = fs::read_dir(root.join("examples")).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path().join("lb.yaml"));
    let mut paths: Vec<_> = paths.filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn every_example_serves_a_request() {
    for path in examples() {
        println!("{}", path.display());
        serves(&path).await;
    }
}

async fn serves(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let made = Pair::new("example.com");
    let read = |text: &str| {
        let mut bundle = Bundle::of_text("lb.yaml", text);
        // Files that its reader makes, such as keys, are not in the repository.
        bundle.gather(|file| {
            let path = path.parent().unwrap().join(&file.path);
            fs::read(&path).or_else(|error| made.stand_in(&path).ok_or(error))
        });
        bundle
    };
    let (document, _) = Document::read(&read(&text));
    // From the last to the first, so that the places before stay right.
    let mut edits = Vec::new();
    let mut backends = Vec::new();
    for (_, entry_point) in document.entry_points.iter().flatten() {
        let Spanned { at, .. } = entry_point.address.as_ref().expect("an address");
        edits.push((at.position, "\"127.0.0.1:0\"".to_owned()));
    }
    for (name, backend) in document.backends.iter().flatten() {
        let Spanned { at, .. } = backend.url.as_ref().expect("a URL");
        let stand_in = Backend::start(name.value.as_str()).await;
        edits.push((at.position, format!("\"{}\"", stand_in.url())));
        backends.push(stand_in);
    }
    edits.sort_by_key(|(position, _)| std::cmp::Reverse(position.offset));
    let mut edited = text;
    for (position, replacement) in edits {
        let (start, end) = (position.offset as usize, (position.offset + position.len) as usize);
        edited.replace_range(start..end, &replacement);
    }
    if document.entry_points.is_none() {
        edited.push_str("\nentry_points: { web: { address: \"127.0.0.1:0\" } }\n");
    }
    let bundle = read(&edited);
    let config = Config::parse(&bundle, 0).expect("a valid example").config;

    // A proxy for each label, or one when there are none.
    let placing = config.placing();
    let mut groups: Vec<Labels> =
        placing.iter().map(|label| Labels::from_iter([label.clone()])).collect();
    if groups.is_empty() {
        groups.push(Labels::default());
    }
    let mut cluster = Cluster::start(0).await;
    for labels in &groups {
        let labels: Vec<_> = labels.iter().map(Label::as_str).collect();
        cluster.add_labelled(&labels, &[]).await;
    }
    let request = cluster.control_plane().request(Method::PUT, "/api/v1/config");
    let request = request.header("if-match", "*").header("content-type", BUNDLE_TYPE);
    let response = request.body(serde_json::to_vec(&bundle).unwrap()).send().await.unwrap();
    let version = outcome(response).await.expect("an example that is committed").version;
    cluster.live_on_all(version).await;

    // A request that the simplest route takes: the literal host and path of its rule.
    let route = config.routes.values().min_by_key(|route| route.rule.as_str().len());
    let route = route.expect("a route");
    let rule = route.rule.as_str();
    let literal = |name: &str| {
        let (_, rest) = rule.split_once(&format!("{name}(`"))?;
        rest.split('`').next().map(str::to_owned)
    };
    let host = literal("Host").unwrap_or_else(|| "example.com".to_owned());
    let target = literal("Path").or_else(|| literal("PathPrefix")).unwrap_or_else(|| "/".into());
    let name = &route.entry_points[0];
    let runs = groups.iter().position(|labels| config.is_run_by(name, labels));
    let address = cluster.proxy(runs.expect("a proxy")).entry_point(name.as_str()).await;
    if config.entry_points[name].tls.is_some() {
        let resolve = format!("{host}:{}:127.0.0.1", address.port());
        let url = format!("https://{host}:{}{target}", address.port());
        assert_eq!(curl(&["-k", "--resolve", &resolve, &url]).await.status, 200, "{rule}");
        return;
    }
    eventually(&format!("{} answers {host}{target}", path.display()), async || {
        match try_get(address, &host, &target).await {
            Ok(response) if response.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
