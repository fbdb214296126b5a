//! Taking turns: one run of the floor, one of Fanfare, one of each peer, and again, so that what else the machine does
//! touches all alike; only ratios of one run are comparable.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::Settings;
use crate::error::Error;
use crate::measure::verdict::Verdict;
use crate::profiles::Outcome;
use crate::report::object;
use crate::servers::{self, Fanfare, Form, Running};
use crate::target::Target;

/// The servers of one row, all running.
pub(super) struct Contestants {
    pub(super) fanfare: Running,
    floor: Running,
    /// Why one is not there is told in the table.
    peers: Vec<Result<Running, String>>,
}

impl Contestants {
    /// Starts Fanfare in memory, the floor, and the peers; peers speak no TLS.
    pub(super) fn start(settings: &Settings, tls: bool) -> Result<Self, Error> {
        let fanfare =
            Fanfare { program: settings.program.clone(), form: Form::Memory, tls, memory_limit_mib: None }.start()?;
        let start = |path: &PathBuf| match tls {
            true => Err("not measured with TLS".to_owned()),
            false => servers::peer(path).map_err(|error| error.to_string()),
        };
        let peers = settings.peers.iter().map(start).collect();
        Ok(Self { fanfare, floor: servers::floor(tls)?, peers })
    }

    /// The floor alone.
    pub(super) fn floor(&self) -> &Target {
        self.floor.target()
    }

    /// Runs all in turns, and takes for each the round that is the median.
    pub(super) fn compare<R: Outcome>(
        &self,
        rounds: u32,
        run: impl Fn(&Target) -> Result<R, Error>,
    ) -> Result<Compared<R>, Error> {
        let (mut fanfare, mut floor) = (Vec::new(), Vec::new());
        let mut peers: Vec<Result<Vec<R>, String>> = Vec::new();
        peers.extend(self.peers.iter().map(|peer| peer.as_ref().map(|_| Vec::new()).map_err(Clone::clone)));
        for _ in 0..rounds {
            floor.push(run(self.floor.target())?);
            fanfare.push(run(self.fanfare.target())?);
            for (peer, all) in self.peers.iter().zip(&mut peers) {
                // A peer that fails is told of in the table; it does not keep the others from being measured.
                let (Ok(peer), Ok(rounds)) = (peer, all.as_mut()) else { continue };
                match run(peer.target()) {
                    Ok(result) => rounds.push(result),
                    Err(error) => *all = Err(error.to_string()),
                }
            }
        }
        let mut verdict = Verdict::default();
        fanfare.iter().chain(&floor).for_each(|result| verdict.add(&result.verdict()));
        let peers = peers.into_iter().map(|peer| peer.map(median)).collect();
        Ok(Compared { fanfare: median(fanfare), floor: median(floor), peers, verdict })
    }
}

/// The median rounds of all, and what became of the messages of all rounds.
pub(super) struct Compared<R> {
    pub(super) fanfare: R,
    pub(super) floor: R,
    pub(super) peers: Vec<Result<R, String>>,
    pub(super) verdict: Verdict,
}

impl<R: Outcome> Compared<R> {
    /// The figures of all, for the details of a row.
    pub(super) fn details(&self) -> Value {
        let mut details = Map::new();
        details.insert("fanfare".to_owned(), object(&self.fanfare.figures()));
        details.insert("floor".to_owned(), object(&self.floor.figures()));
        for (index, peer) in self.peers.iter().enumerate() {
            let figures = peer.as_ref().map_or_else(|reason| reason.as_str().into(), |peer| object(&peer.figures()));
            details.insert(format!("peer_{}", index + 1), figures);
        }
        details.into()
    }
}

/// The round in the middle by what it is about.
pub(crate) fn median<R: Outcome>(mut rounds: Vec<R>) -> R {
    rounds.sort_by(|a, b| a.rank().total_cmp(&b.rank()));
    let middle = rounds.len() / 2;
    rounds.swap_remove(middle)
}
