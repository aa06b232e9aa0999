"""What an examination says."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to do about it.

    ``look`` names what was looked at. A ``remark`` is worth knowing, and
    may be meant so.
    """

    look: str
    fault: str
    cure: str
    remark: bool = False

    def __str__(self) -> str:
        mark = "remark, " if self.remark else ""
        return f"{mark}{self.look}: {self.fault}. {self.cure}."


@dataclass(frozen=True, repr=False)
class Report:
    """What an examination found; as text, one line for each finding.

    ``looks`` names what was looked at, ``blind`` where the look failed, and
    ``unseen`` says what it could not see, and how you would.
    """

    findings: list[Finding]
    looks: list[str]
    blind: list[str]
    unseen: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings]
        if not lines:
            names = ", ".join(self.looks)
            lines.append(
                f"nothing found: looked at {len(self.looks)} things ({names})"
            )
        if self.blind:
            lines.append(f"could not look at: {', '.join(self.blind)}")
        lines += [f"not looked at: {what}" for what in self.unseen]
        return "\n".join(lines)

    __repr__ = __str__
