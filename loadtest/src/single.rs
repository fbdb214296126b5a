//! One profile at a time: against a server that is there or one started for it, in rounds, beside the floor.

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::bench::median;
use crate::cli::{Alone, Common, Measure};
use crate::error::Error;
use crate::floor::jetstream::{self, BareLoad};
use crate::machine;
use crate::measure::verdict::Verdict;
use crate::profiles::Outcome;
use crate::profiles::acknowledge::{self, AcknowledgeLoad};
use crate::profiles::fairness::{self, FairnessLoad};
use crate::report::{Figures, Report, over, rounded};
use crate::servers::{self, Fanfare, Form, Running};
use crate::target::{Surface, Target};

/// Runs a profile in rounds, each after one of the floor if asked to, and reports the median ones.
pub(crate) fn measure<L: Args + Serialize, R: Outcome>(
    profile: &'static str,
    settings: &Measure<L>,
    run: fn(&Target, &L) -> Result<R, Error>,
) -> Result<Verdict, Error> {
    let server = Server::of(&settings.common)?;
    let floor = settings.floor.then(|| servers::floor(settings.common.tls)).transpose()?;
    let floor = floor.as_ref().map(|floor| |_| run(floor.target(), &settings.load));
    in_turns(profile, settings, &server, run, floor)
}

/// The same for acknowledgements, whose floor is a bare publish where the server is on NATS.
pub(crate) fn acknowledge(settings: &Measure<AcknowledgeLoad>) -> Result<Verdict, Error> {
    if !settings.common.start.is_some_and(Form::is_on_nats) {
        return measure("acknowledge", settings, acknowledge::run);
    }
    let server = Server::of(&settings.common)?;
    let AcknowledgeLoad { rate, seconds, payload, .. } = settings.load;
    let load = BareLoad { rate, seconds, payload: payload as usize };
    let bare = |round: usize| jetstream::run(&server.nats_urls()[round % server.nats_urls().len()], load);
    in_turns("acknowledge", settings, &server, acknowledge::run, settings.floor.then_some(bare))
}

fn in_turns<L: Args + Serialize, R: Outcome, F: Outcome>(
    profile: &'static str,
    settings: &Measure<L>,
    server: &Server,
    run: fn(&Target, &L) -> Result<R, Error>,
    floor: Option<impl Fn(usize) -> Result<F, Error>>,
) -> Result<Verdict, Error> {
    let (mut measured, mut of_floor, mut verdict) = (Vec::new(), Vec::new(), Verdict::default());
    for round in 0..settings.rounds.get() as usize {
        if let Some(floor) = &floor {
            let result = floor(round)?;
            verdict.add(&result.verdict());
            of_floor.push(result);
        }
        let result = run(server.target(), &settings.load)?;
        verdict.add(&result.verdict());
        measured.push(result);
    }
    let mut columns = vec![("server".to_owned(), with_rounds(measured))];
    if floor.is_some() {
        columns.push(("floor".to_owned(), with_rounds(of_floor)));
        columns.push(("ratio".to_owned(), over(&columns[0].1, &columns[1].1)));
    }
    report(profile, server, settings, &settings.common, columns)?;
    Ok(verdict)
}

/// The figures of the median round, and the main one of all rounds.
fn with_rounds<R: Outcome>(rounds: Vec<R>) -> Figures {
    let all: Vec<_> = rounds.iter().map(|round| rounded(round.rank())).collect();
    let mut figures = median(rounds).figures();
    figures.push(("main_figure_of_all_rounds", json!(all)));
    figures
}

/// Runs a profile that has no floor, once.
pub(crate) fn alone<L: Args + Serialize, R: Outcome>(
    profile: &'static str,
    settings: &Alone<L>,
    run: fn(&Target, &L) -> Result<R, Error>,
) -> Result<Verdict, Error> {
    let server = Server::of(&settings.common)?;
    let result = run(server.target(), &settings.load)?;
    report(profile, &server, settings, &settings.common, vec![("server".to_owned(), result.figures())])?;
    Ok(result.verdict())
}

/// Measures one app beside another.
pub(crate) fn fairness(settings: &Alone<FairnessLoad>) -> Result<Verdict, Error> {
    let server = Server::of(&settings.common)?;
    let result = fairness::run(server.target(), &settings.load)?;
    report("fairness", &server, settings, &settings.common, result.columns())?;
    Ok(result.verdict())
}

fn report(
    profile: &'static str,
    server: &Server,
    settings: &impl Serialize,
    common: &Common,
    columns: Vec<(String, Figures)>,
) -> Result<(), Error> {
    let target = server.target();
    let server_version = target.version.clone();
    let report = Report { profile, server_version, machine: machine::figures()?, settings: json!(settings), columns };
    report.publish(common.json.as_deref())
}

/// One that was started for this run, and ends with it, or one that was there.
enum Server {
    Started(Running),
    There(Target),
}

impl Server {
    fn of(common: &Common) -> Result<Self, Error> {
        if let Some(form) = common.start {
            let program = common.server.clone().unwrap_or_else(Fanfare::beside_this);
            return Ok(Self::Started(
                Fanfare { program, form, tls: common.tls, memory_limit_mib: common.memory_limit_mib }.start()?,
            ));
        }
        Ok(Self::There(Target {
            name: "server".to_owned(),
            version: common.server_version.clone(),
            addresses: common.address.clone(),
            pids: common.pid.clone(),
            stores: Vec::new(),
            tls: None,
            app: common.app.clone(),
            key: common.key.clone(),
            secret: common.secret.clone(),
            surface: Surface::Fanfare,
        }))
    }

    /// Where the NATS servers of one that was started are.
    fn nats_urls(&self) -> &[String] {
        match self {
            Self::Started(running) => running.nats_urls(),
            Self::There(_) => &[],
        }
    }

    fn target(&self) -> &Target {
        match self {
            Self::Started(running) => running.target(),
            Self::There(target) => target,
        }
    }
}
