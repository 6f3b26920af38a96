"""Signatures of audit entries: who holds a private key says so, and a public key in the repository proves it.

A signature (Ed25519) is over the digest of an entry, and so over the version's digests and all that went before. It is
a line of `registry/<name>.signatures.jsonl`, which git keeps beside the record. Keys are PEM files as OpenSSL makes
them.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from podium.config.params import Params
from podium.core.errors import PromotionRefused
from podium.core.files import write_text
from podium.core.layout import Layout
from podium.records.audit import AuditEntry
from podium.records.base import Record
from podium.registry.audit import AuditRecord
from podium.registry.audit_file import brief

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT = b"podium audit entry "  # so that no signature of anything else is one of an entry


class Signature(Record):
    """That a signer signed an entry: the entry's digest, the name in `promote.signers`, the signature in base64."""

    entry: str
    signer: str
    signature: str


@dataclass(frozen=True)
class Signer:
    """Somebody whose public key `promote.signers` names, with the private one."""

    name: str
    key: "Ed25519PrivateKey"
    path: Path

    def sign(self, entry: AuditEntry) -> None:
        """Puts a signature beside the record."""
        signed = base64.b64encode(self.key.sign(_CONTEXT + entry.digest.encode())).decode()
        line = Signature(entry=entry.digest, signer=self.name, signature=signed).model_dump_json()
        before = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        write_text(self.path, f"{before}{line}\n")


def find_signer(layout: Layout, params: Params, alias: str, key: Path | None) -> Signer | None:
    """Who signs a move or an approval of one; None where no key was given, and none is asked for.

    Raises:
        PromotionRefused: the move must be signed and there is no key, or the key is no signer's.
    """
    move, signers = params.promote.moves[alias], params.promote.signers
    if key is None:
        if move.signed:
            raise PromotionRefused(
                f"a move to {alias}, and its approval, must be signed: give your private key, --key FILE"
            )
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise PromotionRefused(
            f"{key} is no private key without a password ({error}): openssl genpkey makes one"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise PromotionRefused(f"{key} is no Ed25519 key: openssl genpkey -algorithm ed25519 -out {key.name}")
    public = private.public_key().public_bytes_raw()
    for name in signers:
        if _public_key(layout, signers, name).public_bytes_raw() == public:
            return Signer(name, private, layout.signatures(params.publish.registered_model))
    known = ", ".join(signers) or "nobody"
    raise PromotionRefused(f"{key} is the key of none of promote.signers ({known}): name its public key there")


def unsigned(layout: Layout, params: Params, record: AuditRecord) -> list[str]:
    """What is wrong with the signatures of the present holders, for the moves that must be signed, in sentences."""
    found = []
    for alias, move in params.promote.moves.items():
        last = record.last(alias) if move.signed else None
        if last is not None and (why := signed_by(layout, params, last)[1]):
            found.append(f"{alias} is at version {last.to_version} by an entry ({brief(last)}) that {why}")
    return found


def signed_by(layout: Layout, params: Params, entry: AuditEntry) -> tuple[str, str]:
    """The signer of an entry, and why it is not signed, in words; one of the two is empty."""
    from cryptography.exceptions import InvalidSignature

    signers = params.promote.signers
    try:
        mine = [s for s in _read(layout.signatures(params.publish.registered_model)) if s.entry == entry.digest]
    except ValidationError:
        return "", "has no signature that can be read: restore the file of signatures from git"
    if not mine:
        return "", "nobody signed"
    wrong = ""
    for one in mine:
        if one.signer not in signers:
            wrong = f"{one.signer} signed, who is none of promote.signers"
            continue
        try:
            signed = base64.b64decode(one.signature, validate=True)
            _public_key(layout, signers, one.signer).verify(signed, _CONTEXT + entry.digest.encode())
        except (InvalidSignature, binascii.Error):
            wrong = f"{one.signer} did not sign: the signature is not of that key"
            continue
        except PromotionRefused as refused:
            wrong = f"cannot be checked: {refused}"
            continue
        return one.signer, ""
    return "", wrong


def _read(path: Path) -> list[Signature]:
    """The signatures in a file; none where there is none."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [Signature.model_validate_json(line) for line in lines]


def _public_key(layout: Layout, signers: Mapping[str, str], name: str) -> "Ed25519PublicKey":
    """The public key of a signer.

    Raises:
        PromotionRefused: its file holds none.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    path = layout.main_root / signers[name]
    try:
        public = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PromotionRefused(f"promote.signers.{name}: {path} is no public key ({error})") from error
    if not isinstance(public, Ed25519PublicKey):
        raise PromotionRefused(f"promote.signers.{name}: {path} is no Ed25519 key")
    return public
