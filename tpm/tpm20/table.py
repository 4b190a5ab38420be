"""The table of commands: TPM 2.0 part 3, revision 1.59, a family (a file of `families`) at a time.

Order within a family is part 3's. The commands of part 3 that are missing here are
FieldUpgradeStart, FieldUpgradeData and FirmwareRead (a library is upgraded by replacing it), those
of attached components (AC_GetCapability, AC_Send, Policy_AC_SendSelect: nothing is attached) and of
authenticated countdown timers (ACT_SetTimeout: there are none).
"""

from __future__ import annotations

from typing import Any

from tpm.tpm20 import structures as t
from tpm.tpm20.commands import Row
from tpm.tpm20.constants import ROLE

USER, ADMIN, DUP = ROLE.USER, ROLE.ADMIN, ROLE.DUP


def row(
    name: str,
    handles: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    returns: dict[str, Any] | None = None,
    **attributes: bool,
) -> Row:
    return Row(name, handles or {}, parameters or {}, returns or {}, **attributes)


_STARTUP = (
    row("Startup", {}, {"startup_type": t.Startup}, nv=True, no_sessions=True),
    row("Shutdown", {}, {"shutdown_type": t.Startup}, nv=True),
)

_TESTING = (
    row("SelfTest", {}, {"full_test": t.YesNo}, nv=True),
    row("IncrementalSelfTest", {}, {"to_test": t.AlgList}, {"to_do": t.AlgIds}, nv=True),
    row("GetTestResult", {}, {}, {"out_data": t.MaxBuffer, "test_result": t.Uint32}),
)

_SESSION = (
    row(
        "StartAuthSession",
        {"tpm_key": t.DhObjectNull, "bind": t.DhEntityNull},
        {
            "nonce_caller": t.Nonce,
            "encrypted_salt": t.EncryptedSecret,
            "session_type": t.SessionType,
            "symmetric": t.SymDef,
            "auth_hash": t.AlgHash,
        },
        {"nonce_tpm": t.Nonce},
        handle_out=True,
    ),
    row("PolicyRestart", {"session": t.ShPolicy}, trial=True),
)

_OBJECT = (
    row(
        "Create",
        {"parent": (t.DhObject, USER)},
        {
            "in_sensitive": t.SensitiveCreate2B,
            "in_public": t.Public2B,
            "outside_info": t.Data,
            "creation_pcr": t.PcrSelections,
        },
        {
            "out_private": t.Private,
            "out_public": t.Public2B,
            "creation_data": t.CreationData2B,
            "creation_hash": t.Digest,
            "creation_ticket": t.TkCreation,
        },
    ),
    row(
        "Load",
        {"parent": (t.DhObject, USER)},
        {"in_private": t.Private, "in_public": t.Public2B},
        {"name": t.Name},
        handle_out=True,
    ),
    row(
        "LoadExternal",
        {},
        {
            "in_private": t.Sensitive2B,
            "in_public": t.Public2BNull,
            "hierarchy": t.RhHierarchyNull,
        },
        {"name": t.Name},
        handle_out=True,
    ),
    row(
        "ReadPublic",
        {"object": t.DhObject},
        {},
        {"out_public": t.Public2BNull, "name": t.Name, "qualified_name": t.Name},
    ),
    row("Unseal", {"item": (t.DhObject, USER)}, {}, {"out_data": t.SensitiveData}),
    row(
        "ObjectChangeAuth",
        {"object": (t.DhObject, ADMIN), "parent": t.DhObject},
        {"new_auth": t.Auth},
        {"out_private": t.Private},
    ),
    row(
        "CreateLoaded",
        {"parent": (t.DhParent, USER)},
        {"in_sensitive": t.SensitiveCreate2B, "in_public": t.Template},
        {"out_private": t.Private, "out_public": t.Public2B, "name": t.Name},
        handle_out=True,
    ),
)

_CREDENTIAL = (
    row(
        "ActivateCredential",
        {"activate": (t.DhObject, ADMIN), "key": (t.DhObject, USER)},
        {"credential_blob": t.IdObject, "secret": t.EncryptedSecret},
        {"cert_info": t.Digest},
    ),
    row(
        "MakeCredential",
        {"handle": t.DhObject},
        {"credential": t.Digest, "object_name": t.Name},
        {"credential_blob": t.IdObject, "secret": t.EncryptedSecret},
    ),
)

_DUPLICATION = (
    row(
        "Duplicate",
        {"object": (t.DhObject, DUP), "new_parent": t.DhObjectNull},
        {"encryption_key_in": t.Data, "symmetric": t.SymDefObject},
        {
            "encryption_key_out": t.Data,
            "duplicate": t.Private,
            "out_sym_seed": t.EncryptedSecret,
        },
    ),
    row(
        "Rewrap",
        {"old_parent": (t.DhObjectNull, USER), "new_parent": t.DhObjectNull},
        {"in_duplicate": t.Private, "name": t.Name, "in_sym_seed": t.EncryptedSecret},
        {"out_duplicate": t.Private, "out_sym_seed": t.EncryptedSecret},
    ),
    row(
        "Import",
        {"parent": (t.DhObject, USER)},
        {
            "encryption_key": t.Data,
            "object_public": t.Public2B,
            "duplicate": t.Private,
            "in_sym_seed": t.EncryptedSecret,
            "symmetric": t.SymDefObject,
        },
        {"out_private": t.Private},
    ),
)

_ASYMMETRIC = (
    row(
        "RSA_Encrypt",
        {"key": t.DhObject},
        {"message": t.PublicKeyRsa, "in_scheme": t.RsaDecrypt, "label": t.Data},
        {"out_data": t.PublicKeyRsa},
    ),
    row(
        "RSA_Decrypt",
        {"key": (t.DhObject, USER)},
        {"cipher_text": t.PublicKeyRsa, "in_scheme": t.RsaDecrypt, "label": t.Data},
        {"message": t.PublicKeyRsa},
    ),
    row(
        "ECDH_KeyGen",
        {"key": t.DhObject},
        {},
        {"z_point": t.EccPoint2B, "pub_point": t.EccPoint2B},
    ),
    row(
        "ECDH_ZGen",
        {"key": (t.DhObject, USER)},
        {"in_point": t.EccPoint2B},
        {"out_point": t.EccPoint2B},
    ),
    row("ECC_Parameters", {}, {"curve": t.EccCurve}, {"parameters": t.EccDetail}),
    row(
        "ZGen_2Phase",
        {"key_a": (t.DhObject, USER)},
        {
            "in_qs_b": t.EccPoint2B,
            "in_qe_b": t.EccPoint2B,
            "in_scheme": t.AlgKeyExchange,
            "counter": t.Uint16,
        },
        {"out_z1": t.EccPoint2B, "out_z2": t.EccPoint2B},
    ),
    row(
        "ECC_Encrypt",
        {"key": t.DhObject},
        {"plain_text": t.MaxBuffer, "in_scheme": t.KdfScheme},
        {"c1": t.EccPoint2B, "c2": t.MaxBuffer, "c3": t.Digest},
    ),
    row(
        "ECC_Decrypt",
        {"key": (t.DhObject, USER)},
        {
            "c1": t.EccPoint2B,
            "c2": t.MaxBuffer,
            "c3": t.Digest,
            "in_scheme": t.KdfScheme,
        },
        {"plain_text": t.MaxBuffer},
    ),
)

_SYMMETRIC = (
    row(
        "EncryptDecrypt",
        {"key": (t.DhObject, USER)},
        {
            "decrypt": t.YesNo,
            "mode": t.AlgCipherModeNull,
            "iv_in": t.Iv,
            "in_data": t.MaxBuffer,
        },
        {"out_data": t.MaxBuffer, "iv_out": t.Iv},
    ),
    row(
        "EncryptDecrypt2",
        {"key": (t.DhObject, USER)},
        {
            "in_data": t.MaxBuffer,
            "decrypt": t.YesNo,
            "mode": t.AlgCipherModeNull,
            "iv_in": t.Iv,
        },
        {"out_data": t.MaxBuffer, "iv_out": t.Iv},
    ),
)

_HASHING = (
    row(
        "Hash",
        {},
        {"data": t.MaxBuffer, "hash_alg": t.AlgHash, "hierarchy": t.RhHierarchyNull},
        {"out_hash": t.Digest, "validation": t.TkHashcheck},
    ),
    row(
        "HMAC",
        {"handle": (t.DhObject, USER)},
        {"buffer": t.MaxBuffer, "hash_alg": t.AlgMacSchemeNull},
        {"out_hmac": t.Digest},
    ),
    row(
        "HMAC_Start",
        {"handle": (t.DhObject, USER)},
        {"auth": t.Auth, "hash_alg": t.AlgMacSchemeNull},
        handle_out=True,
    ),
    row(
        "HashSequenceStart",
        {},
        {"auth": t.Auth, "hash_alg": t.AlgHashNull},
        handle_out=True,
    ),
    row("SequenceUpdate", {"sequence": (t.DhObject, USER)}, {"buffer": t.MaxBuffer}),
    row(
        "SequenceComplete",
        {"sequence": (t.DhObject, USER)},
        {"buffer": t.MaxBuffer, "hierarchy": t.RhHierarchyNull},
        {"result": t.Digest, "validation": t.TkHashcheck},
        flushed=True,
    ),
    row(
        "EventSequenceComplete",
        {"pcr": (t.DhPcrNull, USER), "sequence": (t.DhObject, USER)},
        {"buffer": t.MaxBuffer},
        {"results": t.DigestValues},
        nv=True,
        flushed=True,
    ),
)

_RANDOM = (
    row("GetRandom", {}, {"bytes_requested": t.Uint16}, {"random_bytes": t.Digest}),
    row("StirRandom", {}, {"in_data": t.SensitiveData}, nv=True),
)

_ATTEST_OUT = {"attest": t.Attest2B, "signature": t.Signature}

_ATTESTATION = (
    row(
        "Certify",
        {"object": (t.DhObject, ADMIN), "sign": (t.DhObjectNull, USER)},
        {"qualifying_data": t.Data, "in_scheme": t.SigScheme},
        _ATTEST_OUT,
    ),
    row(
        "CertifyCreation",
        {"sign": (t.DhObjectNull, USER), "object": t.DhObject},
        {
            "qualifying_data": t.Data,
            "creation_hash": t.Digest,
            "in_scheme": t.SigScheme,
            "creation_ticket": t.TkCreation,
        },
        _ATTEST_OUT,
    ),
    row(
        "Quote",
        {"sign": (t.DhObjectNull, USER)},
        {"qualifying_data": t.Data, "in_scheme": t.SigScheme, "pcr_select": t.PcrSelections},
        _ATTEST_OUT,
    ),
    row(
        "GetSessionAuditDigest",
        {
            "privacy_admin": (t.RhEndorsement, USER),
            "sign": (t.DhObjectNull, USER),
            "session": t.ShHmac,
        },
        {"qualifying_data": t.Data, "in_scheme": t.SigScheme},
        _ATTEST_OUT,
    ),
    row(
        "GetCommandAuditDigest",
        {"privacy": (t.RhEndorsement, USER), "sign": (t.DhObjectNull, USER)},
        {"qualifying_data": t.Data, "in_scheme": t.SigScheme},
        _ATTEST_OUT,
        nv=True,
    ),
    row(
        "GetTime",
        {"privacy_admin": (t.RhEndorsement, USER), "sign": (t.DhObjectNull, USER)},
        {"qualifying_data": t.Data, "in_scheme": t.SigScheme},
        _ATTEST_OUT,
    ),
    row(
        "CertifyX509",
        {"object": (t.DhObject, ADMIN), "sign": (t.DhObjectNull, USER)},
        {"reserved": t.Data, "in_scheme": t.SigScheme, "partial_certificate": t.MaxBuffer},
        {
            "added_to_certificate": t.MaxBuffer,
            "tbs_digest": t.Digest,
            "signature": t.Signature,
        },
    ),
)

_EPHEMERAL = (
    row(
        "Commit",
        {"sign": (t.DhObject, USER)},
        {"p1": t.EccPoint2B, "s2": t.SensitiveData, "y2": t.EccParameter},
        {"k": t.EccPoint2B, "l": t.EccPoint2B, "e": t.EccPoint2B, "counter": t.Uint16},
    ),
    row(
        "EC_Ephemeral",
        {},
        {"curve": t.EccCurve},
        {"q": t.EccPoint2B, "counter": t.Uint16},
    ),
)

_SIGNING = (
    row(
        "VerifySignature",
        {"key": t.DhObject},
        {"digest": t.Digest, "signature": t.SignatureNotNull},
        {"validation": t.TkVerified},
    ),
    row(
        "Sign",
        {"key": (t.DhObject, USER)},
        {"digest": t.Digest, "in_scheme": t.SigScheme, "validation": t.TkHashcheck},
        {"signature": t.Signature},
    ),
)

_AUDIT = (
    row(
        "SetCommandCodeAuditStatus",
        {"auth": (t.RhProvision, USER)},
        {"audit_alg": t.AlgHashNull, "set_list": t.CommandCodes, "clear_list": t.CommandCodes},
        nv=True,
        pp=True,
    ),
)

_PCR = (
    row("PCR_Extend", {"pcr": (t.DhPcrNull, USER)}, {"digests": t.DigestValues}, nv=True),
    row(
        "PCR_Event",
        {"pcr": (t.DhPcrNull, USER)},
        {"event_data": t.Event},
        {"digests": t.DigestValues},
        nv=True,
    ),
    row(
        "PCR_Read",
        {},
        {"selection_in": t.PcrSelections},
        {"update_counter": t.Uint32, "selection_out": t.PcrSelections, "values": t.DigestList},
    ),
    row(
        "PCR_Allocate",
        {"auth": (t.RhPlatform, USER)},
        {"allocation": t.PcrSelections},
        {
            "success": t.YesNo,
            "max_pcr": t.Uint32,
            "size_needed": t.Uint32,
            "size_available": t.Uint32,
        },
        nv=True,
        pp=True,
    ),
    row(
        "PCR_SetAuthPolicy",
        {"auth": (t.RhPlatform, USER)},
        {"auth_policy": t.Digest, "hash_alg": t.AlgHashNull, "pcr": t.DhPcr},
        nv=True,
        pp=True,
    ),
    row("PCR_SetAuthValue", {"pcr": (t.DhPcr, USER)}, {"auth": t.Digest}),
    row("PCR_Reset", {"pcr": (t.DhPcr, USER)}, nv=True),
)

_POLICY = (
    row(
        "PolicySigned",
        {"auth_object": t.DhObject, "session": t.ShPolicy},
        {
            "nonce_tpm": t.Nonce,
            "cp_hash": t.Digest,
            "policy_ref": t.Nonce,
            "expiration": t.Int32,
            "auth": t.SignatureNotNull,
        },
        {"timeout": t.Timeout, "policy_ticket": t.TkAuth},
        trial=True,
    ),
    row(
        "PolicySecret",
        {"auth_handle": (t.DhEntity, USER), "session": t.ShPolicy},
        {
            "nonce_tpm": t.Nonce,
            "cp_hash": t.Digest,
            "policy_ref": t.Nonce,
            "expiration": t.Int32,
        },
        {"timeout": t.Timeout, "policy_ticket": t.TkAuth},
        trial=True,
    ),
    row(
        "PolicyTicket",
        {"session": t.ShPolicy},
        {
            "timeout": t.Timeout,
            "cp_hash": t.Digest,
            "policy_ref": t.Nonce,
            "auth_name": t.Name,
            "ticket": t.TkAuth,
        },
        trial=True,
    ),
    row("PolicyOR", {"session": t.ShPolicy}, {"hash_list": t.PolicyOrList}, trial=True),
    row(
        "PolicyPCR",
        {"session": t.ShPolicy},
        {"pcr_digest": t.Digest, "pcrs": t.PcrSelections},
        trial=True,
    ),
    row("PolicyLocality", {"session": t.ShPolicy}, {"locality": t.Locality}, trial=True),
    row(
        "PolicyNV",
        {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex, "session": t.ShPolicy},
        {"operand_b": t.Operand, "offset": t.Uint16, "operation": t.Operation},
        trial=True,
    ),
    row(
        "PolicyCounterTimer",
        {"session": t.ShPolicy},
        {"operand_b": t.Operand, "offset": t.Uint16, "operation": t.Operation},
        trial=True,
    ),
    row("PolicyCommandCode", {"session": t.ShPolicy}, {"code": t.Uint32}, trial=True),
    row("PolicyPhysicalPresence", {"session": t.ShPolicy}, trial=True),
    row("PolicyCpHash", {"session": t.ShPolicy}, {"cp_hash": t.Digest}, trial=True),
    row("PolicyNameHash", {"session": t.ShPolicy}, {"name_hash": t.Digest}, trial=True),
    row(
        "PolicyDuplicationSelect",
        {"session": t.ShPolicy},
        {"object_name": t.Name, "new_parent_name": t.Name, "include_object": t.YesNo},
        trial=True,
    ),
    row(
        "PolicyAuthorize",
        {"session": t.ShPolicy},
        {
            "approved_policy": t.Digest,
            "policy_ref": t.Nonce,
            "key_sign": t.Name,
            "check_ticket": t.TkVerified,
        },
        trial=True,
    ),
    row("PolicyAuthValue", {"session": t.ShPolicy}, trial=True),
    row("PolicyPassword", {"session": t.ShPolicy}, trial=True),
    row("PolicyGetDigest", {"session": t.ShPolicy}, {}, {"policy_digest": t.Digest}, trial=True),
    row("PolicyNvWritten", {"session": t.ShPolicy}, {"written_set": t.YesNo}, trial=True),
    row("PolicyTemplate", {"session": t.ShPolicy}, {"template_hash": t.Digest}, trial=True),
    row(
        "PolicyAuthorizeNV",
        {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex, "session": t.ShPolicy},
        trial=True,
    ),
)

_HIERARCHY = (
    row(
        "CreatePrimary",
        {"primary": (t.RhHierarchyNull, USER)},
        {
            "in_sensitive": t.SensitiveCreate2B,
            "in_public": t.Public2B,
            "outside_info": t.Data,
            "creation_pcr": t.PcrSelections,
        },
        {
            "out_public": t.Public2B,
            "creation_data": t.CreationData2B,
            "creation_hash": t.Digest,
            "creation_ticket": t.TkCreation,
            "name": t.Name,
        },
        handle_out=True,
        pp=True,
    ),
    row(
        "HierarchyControl",
        {"auth": (t.RhHierarchy, USER)},
        {"enable": t.RhEnables, "state": t.YesNo},
        nv=True,
        extensive=True,
        pp=True,
    ),
    row(
        "SetPrimaryPolicy",
        {"auth": (t.RhHierarchyPolicy, USER)},
        {"auth_policy": t.Digest, "hash_alg": t.AlgHashNull},
        nv=True,
        pp=True,
    ),
    row("ChangePPS", {"auth": (t.RhPlatform, USER)}, nv=True, extensive=True, pp=True),
    row("ChangeEPS", {"auth": (t.RhPlatform, USER)}, nv=True, extensive=True, pp=True),
    row("Clear", {"auth": (t.RhClear, USER)}, nv=True, extensive=True, pp=True),
    row("ClearControl", {"auth": (t.RhClear, USER)}, {"disable": t.YesNo}, nv=True, pp=True),
    row(
        "HierarchyChangeAuth",
        {"auth": (t.RhHierarchyAuth, USER)},
        {"new_auth": t.Auth},
        nv=True,
        pp=True,
    ),
)

_DICTIONARY_ATTACK = (
    row("DictionaryAttackLockReset", {"lock": (t.RhLockout, USER)}, nv=True),
    row(
        "DictionaryAttackParameters",
        {"lock": (t.RhLockout, USER)},
        {"new_max_tries": t.Uint32, "new_recovery_time": t.Uint32, "lockout_recovery": t.Uint32},
        nv=True,
    ),
)

_MANAGEMENT = (
    row(
        "PP_Commands",
        {"auth": (t.RhPlatform, USER)},
        {"set_list": t.CommandCodes, "clear_list": t.CommandCodes},
        nv=True,
        pp=True,
    ),
    row(
        "SetAlgorithmSet",
        {"auth": (t.RhPlatform, USER)},
        {"algorithm_set": t.Uint32},
        nv=True,
    ),
)

_CONTEXT = (
    row("ContextSave", {"save": t.DhContext}, {}, {"context": t.Context}, no_sessions=True),
    row("ContextLoad", {}, {"context": t.Context}, handle_out=True, no_sessions=True),
    row("FlushContext", {}, {"flush": t.DhContext}, no_sessions=True),
    row(
        "EvictControl",
        {"auth": (t.RhProvision, USER), "object": t.DhObject},
        {"persistent": t.DhPersistent},
        nv=True,
        pp=True,
    ),
)

_CLOCK = (
    row("ReadClock", {}, {}, {"current_time": t.TimeInfo}),
    row("ClockSet", {"auth": (t.RhProvision, USER)}, {"new_time": t.Uint64}, nv=True, pp=True),
    row(
        "ClockRateAdjust",
        {"auth": (t.RhProvision, USER)},
        {"rate_adjust": t.ClockAdjust},
        pp=True,
    ),
)

_CAPABILITY = (
    row(
        "GetCapability",
        {},
        {"capability": t.Capability, "property": t.Uint32, "property_count": t.Uint32},
        {"more_data": t.YesNo, "capability_data": t.CapabilityData},
    ),
    row("TestParms", {}, {"parameters": t.PublicParms}),
)

_NV = (
    row(
        "NV_DefineSpace",
        {"auth": (t.RhProvision, USER)},
        {"auth_value": t.Auth, "public_info": t.NvPublic2B},
        nv=True,
        pp=True,
    ),
    row(
        "NV_UndefineSpace",
        {"auth": (t.RhProvision, USER), "nv_index": t.RhNvIndex},
        nv=True,
        pp=True,
    ),
    row(
        "NV_UndefineSpaceSpecial",
        {"nv_index": (t.RhNvIndex, ADMIN), "platform": (t.RhPlatform, USER)},
        nv=True,
        pp=True,
    ),
    row(
        "NV_ReadPublic", {"nv_index": t.RhNvIndex}, {}, {"nv_public": t.NvPublic2B, "name": t.Name}
    ),
    row(
        "NV_Write",
        {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex},
        {"data": t.MaxNvBuffer, "offset": t.Uint16},
        nv=True,
    ),
    row("NV_Increment", {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex}, nv=True),
    row(
        "NV_Extend",
        {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex},
        {"data": t.MaxNvBuffer},
        nv=True,
    ),
    row(
        "NV_SetBits",
        {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex},
        {"bits": t.Uint64},
        nv=True,
    ),
    row("NV_WriteLock", {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex}, nv=True),
    row("NV_GlobalWriteLock", {"auth": (t.RhProvision, USER)}, nv=True, pp=True),
    row(
        "NV_Read",
        {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex},
        {"size": t.Uint16, "offset": t.Uint16},
        {"data": t.MaxNvBuffer},
    ),
    row("NV_ReadLock", {"auth": (t.RhNvAuth, USER), "nv_index": t.RhNvIndex}, nv=True),
    row("NV_ChangeAuth", {"nv_index": (t.RhNvIndex, ADMIN)}, {"new_auth": t.Auth}, nv=True),
    row(
        "NV_Certify",
        {
            "sign": (t.DhObjectNull, USER),
            "auth": (t.RhNvAuth, USER),
            "nv_index": t.RhNvIndex,
        },
        {
            "qualifying_data": t.Data,
            "in_scheme": t.SigScheme,
            "size": t.Uint16,
            "offset": t.Uint16,
        },
        _ATTEST_OUT,
    ),
)

TABLE: dict[str, tuple[Row, ...]] = {
    "startup": _STARTUP,
    "testing": _TESTING,
    "session": _SESSION,
    "objects": _OBJECT,
    "credential": _CREDENTIAL,
    "duplication": _DUPLICATION,
    "asymmetric": _ASYMMETRIC,
    "symmetric": _SYMMETRIC,
    "hashing": _HASHING,
    "random": _RANDOM,
    "attestation": _ATTESTATION,
    "ephemeral": _EPHEMERAL,
    "signing": _SIGNING,
    "audit": _AUDIT,
    "pcr": _PCR,
    "policy": _POLICY,
    "hierarchy": _HIERARCHY,
    "dictionary_attack": _DICTIONARY_ATTACK,
    "management": _MANAGEMENT,
    "context": _CONTEXT,
    "clock": _CLOCK,
    "capability": _CAPABILITY,
    "nv": _NV,
}
