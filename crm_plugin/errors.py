"""Every error the product raises on purpose; the class says who must act."""

from __future__ import annotations

from crm_plugin.phrases import joined, phrase


class CrmError(Exception):
    """Base of all. `code` is stable and documented, `message` is safe to show, `hint` says what to do next.

    What pages can show is given as phrases (`phrases.py`); they say it in the reader's language.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return joined(self.message, self.hint)

    def as_dict(self) -> dict[str, object]:
        """What `--json` and the pages show."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class ConfigError(CrmError):
    """A setting is missing or wrong: the start stops."""

    code = "config"


class NotFound(CrmError):
    """A shop, member, journey or other thing named by the user does not exist."""

    code = "not_found"


class InvalidInput(CrmError):
    """A file or form value cannot be used; `field` names it where there is one, `line` counts from 1 within it (0: not known)."""

    code = "invalid_input"

    def __init__(
        self, message: str, *, hint: str = "", field: str = "", line: int = 0, code: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.field = field
        self.line = line

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "field": self.field, **({"line": self.line} if self.line else {})}


class RuleError(CrmError):
    """A rule cannot be used. `line` and `column` count from 1; 0 where the rule came as JSON."""

    code = "rule"

    def __init__(self, message: str, *, line: int = 0, column: int = 0, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line
        self.column = column
        self.path = path

    def __str__(self) -> str:
        told = super().__str__()
        if self.line:
            return phrase("line %(line)s, column %(column)s: %(what)s", line=self.line, column=self.column, what=told)
        return phrase("%(place)s: %(what)s", place=self.path, what=told) if self.path else told

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "line": self.line, "column": self.column, "path": self.path}


class RuleSyntaxError(RuleError):
    code = "rule_syntax"


class UnknownField(RuleError):
    code = "unknown_field"


class UnknownSegment(RuleError):
    """A rule names a segment that is not there: it stops, for without it the rule would mean something else."""

    code = "unknown_segment"


class RuleTypeError(RuleError):
    code = "rule_type"


class RenderError(CrmError):
    """A template cannot be rendered for one member: that touchpoint fails, the run goes on. `line` counts from 1 (0: not known)."""

    code = "render"

    def __init__(self, message: str, *, template: str = "", variable: str = "", line: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.template = template
        self.line = line
        self.variable = variable


class NoTemplate(RenderError):
    """There is no text at all for a channel that a journey uses."""

    code = "no_template"


class AdapterError(CrmError):
    """A platform or provider did not do what was asked. `excerpt` is redacted and cut before it comes here."""

    code = "adapter"

    def __init__(
        self,
        message: str,
        *,
        adapter: str = "",
        operation: str = "",
        status: int | None = None,
        excerpt: str = "",
        hint: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.adapter = adapter
        self.operation = operation
        self.status = status
        self.excerpt = excerpt

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "adapter": self.adapter, "operation": self.operation, "status": self.status}


class TransientError(AdapterError):
    """Worth trying again: time-out, rate limit, 5xx. `retry_after` in seconds, None when the other side gave none."""

    code = "transient"

    def __init__(self, message: str, *, retry_after: float | None = None, **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]
        self.retry_after = retry_after


class OutcomeUnknown(AdapterError):
    """The request left, the answer did not come: it may have been done. Never sent again blindly."""

    code = "outcome_unknown"


class PermanentError(AdapterError):
    """Never worth trying again with the same content."""

    code = "permanent"


class RecipientRefused(PermanentError):
    """The address cannot be reached, for good. `suppress` says whether the address itself is dead."""

    code = "recipient_refused"

    def __init__(self, message: str, *, suppress: bool = False, **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]
        self.suppress = suppress


class OptedOut(RecipientRefused):
    """The provider knows that this person refused: suppressed and written to the consent log."""

    code = "opted_out"


class UnsupportedFeature(PermanentError):
    """The provider has no way to be told this; raised, never dropped in silence."""

    code = "unsupported"


class ActionRequired(AdapterError):
    """The merchant must act (key revoked, scope missing, balance empty): the connection pauses."""

    code = "action_required"


class MalformedResponse(AdapterError):
    """The other side broke its own contract; `path` names the place in its answer."""

    code = "malformed_response"

    def __init__(self, message: str, *, path: str = "", **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]
        self.path = path


class WebhookRejected(CrmError):
    """A webhook that is not what it claims; `status` is what the platform prescribes. No detail to the caller."""

    code = "webhook_rejected"

    def __init__(self, message: str, *, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class WebhookMalformed(WebhookRejected):
    """A webhook in a form that no provider of ours sends."""

    code = "webhook_malformed"

    def __init__(self, message: str) -> None:
        super().__init__(message, status=400)
