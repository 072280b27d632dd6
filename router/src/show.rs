//! `show` and `explain` as text or JSON.

use anyhow::Result;
use serde_json::Value;

use crate::admin::{self, Question};
use crate::cli::{Explain, Output, Show, What};
use crate::text::{age, cell, table};

/// Asks a router and prints the answer.
pub(crate) fn show(args: &Show) -> Result<()> {
    let answer = admin::ask(args.admin.admin.as_deref(), &Question::show(args.what, args.limit))?;
    if args.admin.output == Output::Json {
        return print(&serde_json::to_string_pretty(&answer)?);
    }
    print(&match args.what {
        What::Peers => peers(&answer),
        What::Vips => vips(&answer),
        What::Routes => routes(&answer),
        What::Bfd => bfd(&answer),
        What::Services => services(&answer),
        What::Problems => problems(&answer),
    })
}

/// Asks a router to explain something.
pub(crate) fn explain(args: &Explain) -> Result<()> {
    let question = Question::Explain { subject: args.subject.clone() };
    let answer = admin::ask(args.admin.admin.as_deref(), &question)?;
    if args.admin.output == Output::Json {
        return print(&serde_json::to_string_pretty(&answer)?);
    }
    let lines = items(&answer, "lines").iter().filter_map(Value::as_str);
    print(&lines.collect::<Vec<_>>().join("\n"))
}

/// Prints, and takes a reader that has gone (`| head`) for the end and not for an error.
pub(crate) fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn items<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    answer[field].as_array().map_or(&[], Vec::as_slice)
}

fn peers(answer: &Value) -> String {
    let rows: Vec<Vec<String>> = items(answer, "peers")
        .iter()
        .map(|peer| {
            let since = peer["sinceMs"].as_u64().map_or("-".into(), age);
            let mut row: Vec<String> =
                ["router", "address", "interface", "remoteAs", "state"].map(|field| cell(peer, field)).into();
            row.push(since);
            row.extend(["bfd", "received", "announced"].map(|field| cell(peer, field)));
            row.push(peer["reason"].as_str().unwrap_or_default().to_owned());
            row
        })
        .collect();
    let header = ["ROUTER", "ADDRESS", "INTERFACE", "AS", "STATE", "SINCE", "BFD", "IN", "OUT", "REASON"];
    format!(
        "Gateway {}, router ID {}\n{}",
        cell(answer, "gateway"),
        cell(answer, "routerId"),
        if rows.is_empty() { "No GatewayRouter belongs to it.".to_owned() } else { table(&header, &rows) }
    )
}

fn vips(answer: &Value) -> String {
    let rows: Vec<Vec<String>> = items(answer, "vips")
        .iter()
        .map(|vip| {
            let services =
                items(vip, "services").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
            let announced = vip["announced"].as_bool().unwrap_or(false);
            vec![
                cell(vip, "vip"),
                if announced { "announced" } else { "withheld" }.to_owned(),
                cell(vip, "peers"),
                if services.is_empty() { "-".into() } else { services },
                vip["reason"].as_str().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "No VIP is asked for.".into();
    }
    table(&["VIP", "STATE", "PEERS", "SERVICES", "REASON"], &rows)
}

fn routes(answer: &Value) -> String {
    let rows: Vec<Vec<String>> = items(answer, "routes").iter().flat_map(route_rows).collect();
    let mut text = if rows.is_empty() {
        "No route.".to_owned()
    } else {
        table(&["PREFIX", "STATUS", "NEXT HOP", "INTERFACE", "FROM", "AS PATH", "KERNEL"], &rows)
    };
    if answer["truncated"].as_bool().unwrap_or(false) {
        text.push_str("\nThere are more; see --limit.");
    }
    text
}

fn route_rows(route: &Value) -> Vec<Vec<String>> {
    let kernel = route["kernel"].as_str().unwrap_or_default();
    let paths = items(route, "paths");
    if paths.is_empty() {
        let hops = route["forwarding"]["nextHops"].as_array().map_or(&[][..], Vec::as_slice);
        let row = |hop: &Value| {
            let (status, gateway) = match hop["gateway"].as_str() {
                Some(gateway) => ("static", gateway),
                None => ("connected", "-"),
            };
            let mut row = vec![cell(route, "prefix"), status.into(), gateway.into(), cell(hop, "interface")];
            row.extend(["-".into(), "-".into(), kernel.to_owned()]);
            row
        };
        return hops.iter().map(row).collect();
    }
    let first_only = |at: usize, text: String| if at == 0 { text } else { String::new() };
    let row = |(at, path): (usize, &Value)| {
        let own = path["source"] == "local";
        let next_hop = match &path["nextHop"] {
            Value::Object(pair) if !pair["linkLocal"].is_null() => cell(&path["nextHop"], "linkLocal"),
            Value::Object(_) => cell(&path["nextHop"], "global"),
            _ => cell(path, "nextHop"),
        };
        let status = cell(path, "status");
        let stale = if path["stale"].as_bool().unwrap_or(false) { ", stale" } else { "" };
        vec![
            first_only(at, cell(route, "prefix")),
            if own { "originated".into() } else { format!("{status}{stale}") },
            if own { "-".into() } else { next_hop },
            cell(path, "interface"),
            cell(path, "peerAddress"),
            path["asPath"].as_str().filter(|path| !path.is_empty()).map_or("-".into(), shortened),
            if own { String::new() } else { first_only(at, kernel.to_owned()) },
        ]
    };
    paths.iter().enumerate().map(row).collect()
}

/// A path that a table can hold: a peer may send one of thousands of ASes. JSON has it whole.
fn shortened(path: &str) -> String {
    const ASES: usize = 6;
    let ases: Vec<&str> = path.split(' ').collect();
    match ases.get(..ASES) {
        Some(first) if ases.len() > ASES => format!("{} and {} more", first.join(" "), ases.len() - ASES),
        _ => path.to_owned(),
    }
}

fn bfd(answer: &Value) -> String {
    let rows: Vec<Vec<String>> = items(answer, "sessions")
        .iter()
        .map(|session| {
            let view = if session["session"].is_object() { &session["session"] } else { session };
            let interval =
                |field: &str| view[field].as_u64().map_or("-".into(), |us| format!("{}ms", us / 1000));
            vec![
                cell(session, "remote"),
                cell(session, "interface"),
                cell(view, "state"),
                view["stateAgeMs"].as_u64().map_or("-".into(), age),
                cell(view, "remoteState"),
                interval("transmitIntervalUs"),
                interval("receiveIntervalUs"),
                interval("detectionTimeUs"),
                session["waiting"].as_str().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "No BFD session is wanted.".into();
    }
    table(&["REMOTE", "INTERFACE", "STATE", "SINCE", "REMOTE STATE", "TX", "RX", "DETECT", "REASON"], &rows)
}

fn services(answer: &Value) -> String {
    let rows: Vec<Vec<String>> = items(answer, "services")
        .iter()
        .map(|service| {
            let endpoints: Vec<&str> = items(service, "endpoints").iter().filter_map(Value::as_str).collect();
            let endpoints = match endpoints.as_slice() {
                [] => "-".to_owned(),
                [first @ .., last] if first.len() < 4 => {
                    let mut all = first.to_vec();
                    all.push(last);
                    all.join(",")
                }
                many => format!("{} and {} more", many[0], many.len() - 1),
            };
            let problems: Vec<&str> = items(service, "problems").iter().filter_map(Value::as_str).collect();
            let mut row: Vec<String> =
                ["service", "vip", "protocol", "port"].map(|field| cell(service, field)).into();
            row.push(match service["inPlace"].as_bool() {
                Some(true) => "in place".into(),
                Some(false) => "not in place".into(),
                None => "not ours".into(),
            });
            row.extend([endpoints, problems.join("; ")]);
            row
        })
        .collect();
    if rows.is_empty() {
        return "No Service belongs to the Gateway.".into();
    }
    table(&["SERVICE", "VIP", "PROTOCOL", "PORT", "STATE", "ENDPOINTS", "PROBLEMS"], &rows)
}

fn problems(answer: &Value) -> String {
    let lines: Vec<String> = items(answer, "problems")
        .iter()
        .map(|problem| format!("{}: {}", cell(problem, "severity"), cell(problem, "text")))
        .collect();
    if lines.is_empty() { "No problems.".into() } else { lines.join("\n") }
}
