"""report.selection_report: what happened to the pairs, to be looked at: one HTML file in the warehouse."""

import dagster as dg

from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.report_content import QUERIES, READS, REPORT, docs_beside, report_content
from dagster_project.steps.results import OWNERS, asset_key, key
from models_py.content import file_sha256
from models_py.report.page import PARTS, publish_report


@dg.asset(
    key=key("report", "selection_report"),
    deps=[asset_key(table) for table in READS],
    description="Every pair before and after, with all statistics and why each choice fell as it did, in one HTML file "
    "that needs no network. Grain: one file, of the whole profile.",
    kinds={"python", "html"},
    owners=OWNERS,
    code_version=code_version(__name__, *QUERIES, *map(file_sha256, PARTS)),
)
def selection_report(lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]) -> dg.MaterializeResult:
    file = profile.warehouse / REPORT
    with report_content(lake, profile.name) as content:
        written = publish_report(content, file, docs_beside(file, profile.warehouse))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.version),
        metadata={
            "path": dg.MetadataValue.path(str(file)),
            "dagster/row_count": written.pairs,
            "pairs_with_texts": written.pairs_with_texts,
            "pairs_left_out": written.all_pairs - written.pairs,
            "bytes": written.size,
        },
    )
