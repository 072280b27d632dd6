//! `check`: what this kernel and this cluster can do for the router, each with what it means. Nothing is changed: the kernel's
//! part is tried in a network namespace that is thrown away.

mod access;
mod cluster;
mod finding;
mod kernel;
mod namespace;
mod schema;

use std::process::ExitCode;

use anyhow::Result;

use crate::{cli, show};
use finding::{Finding, Mark};

/// Looks, and says what it has found. Success means that all is there that is needed.
///
/// # Errors
/// The kubeconfig cannot be used, or there is no runtime to be had. What an API server lacks is a finding.
pub(crate) fn command(args: &cli::Check) -> Result<ExitCode> {
    // The cluster first: the kernel's part leaves this network namespace for good.
    let cluster = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(cluster::look(args))?
    };
    let mut findings = kernel::look();
    show::print(&format!("kernel {}", kernel::release()))?;
    print(&findings)?;
    match cluster {
        Some((server, found)) => {
            show::print(&format!("cluster {server}"))?;
            print(&found)?;
            findings.extend(found);
        }
        None => {
            show::print("no API server is configured (--kubeconfig, or a pod): the kernel alone was checked")?
        }
    }
    let missing = findings.iter().filter(|finding| finding.needed && finding.mark != Mark::Good).count();
    if missing == 0 {
        show::print("all that is needed is there")?;
        return Ok(ExitCode::SUCCESS);
    }
    show::print(&format!("of what is needed, {missing} is missing or could not be tried"))?;
    Ok(ExitCode::FAILURE)
}

fn print(findings: &[Finding]) -> Result<()> {
    findings.iter().try_for_each(|finding| show::print(&format!("  {finding}")))
}
