"""Constants of TPM 2.0 part 2, as plain integers in named groups.

An `IntEnum` would name values in a debugger, but its arithmetic is ten times slower and every
command passes through here several times; `name_of` gives the name where a human reads it.
"""

from __future__ import annotations


def name_of(group: type, value: int) -> str:
    """The constant's name in its group, else the value in hexadecimal."""
    for name, known in vars(group).items():
        if known == value and not name.startswith("_"):
            return name
    return hex(value)


class ST:
    """TPM_ST, structure tags (part 2, 6.9)."""

    RSP_COMMAND = 0x00C4
    NULL = 0x8000
    NO_SESSIONS = 0x8001
    SESSIONS = 0x8002
    ATTEST_NV = 0x8014
    ATTEST_COMMAND_AUDIT = 0x8015
    ATTEST_SESSION_AUDIT = 0x8016
    ATTEST_CERTIFY = 0x8017
    ATTEST_QUOTE = 0x8018
    ATTEST_TIME = 0x8019
    ATTEST_CREATION = 0x801A
    ATTEST_NV_DIGEST = 0x801C
    CREATION = 0x8021
    VERIFIED = 0x8022
    AUTH_SECRET = 0x8023
    HASHCHECK = 0x8024
    AUTH_SIGNED = 0x8025


GENERATED_VALUE = 0xFF544347


class ALG:
    """TPM_ALG_ID (part 2, 6.3)."""

    ERROR = 0x0000
    RSA = 0x0001
    TDES = 0x0003
    SHA1 = 0x0004
    HMAC = 0x0005
    AES = 0x0006
    MGF1 = 0x0007
    KEYEDHASH = 0x0008
    XOR = 0x000A
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    SM3_256 = 0x0012
    SM4 = 0x0013
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019
    ECDAA = 0x001A
    SM2 = 0x001B
    ECSCHNORR = 0x001C
    ECMQV = 0x001D
    KDF1_SP800_56A = 0x0020
    KDF2 = 0x0021
    KDF1_SP800_108 = 0x0022
    ECC = 0x0023
    SYMCIPHER = 0x0025
    CAMELLIA = 0x0026
    SHA3_256 = 0x0027
    SHA3_384 = 0x0028
    SHA3_512 = 0x0029
    CMAC = 0x003F
    CTR = 0x0040
    OFB = 0x0041
    CBC = 0x0042
    CFB = 0x0043
    ECB = 0x0044


class ECC:
    """TPM_ECC_CURVE (part 2, 6.4)."""

    NIST_P192 = 0x0001
    NIST_P224 = 0x0002
    NIST_P256 = 0x0003
    NIST_P384 = 0x0004
    NIST_P521 = 0x0005
    BN_P256 = 0x0010
    BN_P638 = 0x0011
    SM2_P256 = 0x0020


class RC:
    """TPM_RC, response codes (part 2, 6.6).

    Format-one codes (0x080 upwards) name the parameter, handle or session at fault: add `P(n)`,
    `H(n)` or `S(n)`, counted from 1.
    """

    SUCCESS = 0x000
    BAD_TAG = 0x01E
    # Format zero.
    INITIALIZE = 0x100
    FAILURE = 0x101
    SEQUENCE = 0x103
    PRIVATE = 0x10B
    HMAC = 0x119
    DISABLED = 0x120
    EXCLUSIVE = 0x121
    AUTH_TYPE = 0x124
    AUTH_MISSING = 0x125
    POLICY = 0x126
    PCR = 0x127
    PCR_CHANGED = 0x128
    UPGRADE = 0x12D
    TOO_MANY_CONTEXTS = 0x12E
    AUTH_UNAVAILABLE = 0x12F
    REBOOT = 0x130
    UNBALANCED = 0x131
    COMMAND_SIZE = 0x142
    COMMAND_CODE = 0x143
    AUTHSIZE = 0x144
    AUTH_CONTEXT = 0x145
    NV_RANGE = 0x146
    NV_SIZE = 0x147
    NV_LOCKED = 0x148
    NV_AUTHORIZATION = 0x149
    NV_UNINITIALIZED = 0x14A
    NV_SPACE = 0x14B
    NV_DEFINED = 0x14C
    BAD_CONTEXT = 0x150
    CPHASH = 0x151
    PARENT = 0x152
    NEEDS_TEST = 0x153
    NO_RESULT = 0x154
    SENSITIVE = 0x155
    # Format one.
    ASYMMETRIC = 0x081
    ATTRIBUTES = 0x082
    HASH = 0x083
    VALUE = 0x084
    HIERARCHY = 0x085
    KEY_SIZE = 0x087
    MGF = 0x088
    MODE = 0x089
    TYPE = 0x08A
    HANDLE = 0x08B
    KDF = 0x08C
    RANGE = 0x08D
    AUTH_FAIL = 0x08E
    NONCE = 0x08F
    PP = 0x090
    SCHEME = 0x092
    SIZE = 0x095
    SYMMETRIC = 0x096
    TAG = 0x097
    SELECTOR = 0x098
    INSUFFICIENT = 0x09A
    SIGNATURE = 0x09B
    KEY = 0x09C
    POLICY_FAIL = 0x09D
    INTEGRITY = 0x09F
    TICKET = 0x0A0
    RESERVED_BITS = 0x0A1
    BAD_AUTH = 0x0A2
    EXPIRED = 0x0A3
    POLICY_CC = 0x0A4
    BINDING = 0x0A5
    CURVE = 0x0A6
    ECC_POINT = 0x0A7
    # Warnings.
    CONTEXT_GAP = 0x901
    OBJECT_MEMORY = 0x902
    SESSION_MEMORY = 0x903
    MEMORY = 0x904
    SESSION_HANDLES = 0x905
    OBJECT_HANDLES = 0x906
    LOCALITY = 0x907
    YIELDED = 0x908
    CANCELED = 0x909
    TESTING = 0x90A
    REFERENCE_H0 = 0x910
    REFERENCE_S0 = 0x918
    NV_RATE = 0x920
    LOCKOUT = 0x921
    RETRY = 0x922
    NV_UNAVAILABLE = 0x923


FORMAT_ONE = 0x080
_HAS_SUBJECT = 0xF40


def P(number: int) -> int:
    """What to add to a format-one code about the `number`th parameter, from 1."""
    return 0x040 + (number << 8)


def H(number: int) -> int:
    """What to add to a format-one code about the `number`th handle, from 1."""
    return number << 8


def S(number: int) -> int:
    """What to add to a format-one code about the `number`th session, from 1."""
    return 0x800 + (number << 8)


def about(code: int, subject: int) -> int:
    """`code` with `subject` (`P(n)`, `H(n)`, `S(n)`), if it can bear one and bears none yet."""
    if code & FORMAT_ONE and not code & _HAS_SUBJECT:
        return code + subject
    return code


class TpmError(Exception):
    """A command ends with the response code `code` and has changed nothing."""

    def __init__(self, code: int) -> None:
        super().__init__(hex(code))
        self.code = code


class RH:
    """TPM_RH and TPM_RS, permanent handles (part 2, 7.4)."""

    SRK = 0x40000000
    OWNER = 0x40000001
    REVOKE = 0x40000002
    TRANSPORT = 0x40000003
    OPERATOR = 0x40000004
    ADMIN = 0x40000005
    EK = 0x40000006
    NULL = 0x40000007
    UNASSIGNED = 0x40000008
    PW = 0x40000009
    LOCKOUT = 0x4000000A
    ENDORSEMENT = 0x4000000B
    PLATFORM = 0x4000000C
    PLATFORM_NV = 0x4000000D


class HT:
    """TPM_HT, the most significant octet of a handle (part 2, 7.2)."""

    PCR = 0x00
    NV_INDEX = 0x01
    HMAC_SESSION = 0x02
    POLICY_SESSION = 0x03
    PERMANENT = 0x40
    TRANSIENT = 0x80
    PERSISTENT = 0x81
    AC = 0x90


class HR:
    """First handles of the ranges (part 2, 7.5)."""

    PCR = 0x00000000
    NV_INDEX = 0x01000000
    HMAC_SESSION = 0x02000000
    POLICY_SESSION = 0x03000000
    PERMANENT = 0x40000000
    TRANSIENT = 0x80000000
    PERSISTENT = 0x81000000
    PLATFORM_PERSISTENT = 0x81800000


class SU:
    """TPM_SU (part 2, 6.10)."""

    CLEAR = 0
    STATE = 1


class SE:
    """TPM_SE (part 2, 6.11)."""

    HMAC = 0
    POLICY = 1
    TRIAL = 3


class EO:
    """TPM_EO, comparisons of PolicyNV and PolicyCounterTimer (part 2, 6.8)."""

    EQ = 0x0000
    NEQ = 0x0001
    SIGNED_GT = 0x0002
    UNSIGNED_GT = 0x0003
    SIGNED_LT = 0x0004
    UNSIGNED_LT = 0x0005
    SIGNED_GE = 0x0006
    UNSIGNED_GE = 0x0007
    SIGNED_LE = 0x0008
    UNSIGNED_LE = 0x0009
    BITSET = 0x000A
    BITCLEAR = 0x000B


class CAP:
    """TPM_CAP (part 2, 6.12)."""

    ALGS = 0
    HANDLES = 1
    COMMANDS = 2
    PP_COMMANDS = 3
    AUDIT_COMMANDS = 4
    PCRS = 5
    TPM_PROPERTIES = 6
    PCR_PROPERTIES = 7
    ECC_CURVES = 8
    AUTH_POLICIES = 9
    ACT = 10
    VENDOR_PROPERTY = 0x100


class PT:
    """TPM_PT, properties (part 2, 6.13)."""

    FAMILY_INDICATOR = 0x100
    LEVEL = 0x101
    REVISION = 0x102
    DAY_OF_YEAR = 0x103
    YEAR = 0x104
    MANUFACTURER = 0x105
    VENDOR_STRING_1 = 0x106
    VENDOR_STRING_2 = 0x107
    VENDOR_STRING_3 = 0x108
    VENDOR_STRING_4 = 0x109
    VENDOR_TPM_TYPE = 0x10A
    FIRMWARE_VERSION_1 = 0x10B
    FIRMWARE_VERSION_2 = 0x10C
    INPUT_BUFFER = 0x10D
    HR_TRANSIENT_MIN = 0x10E
    HR_PERSISTENT_MIN = 0x10F
    HR_LOADED_MIN = 0x110
    ACTIVE_SESSIONS_MAX = 0x111
    PCR_COUNT = 0x112
    PCR_SELECT_MIN = 0x113
    CONTEXT_GAP_MAX = 0x114
    NV_COUNTERS_MAX = 0x116
    NV_INDEX_MAX = 0x117
    MEMORY = 0x118
    CLOCK_UPDATE = 0x119
    CONTEXT_HASH = 0x11A
    CONTEXT_SYM = 0x11B
    CONTEXT_SYM_SIZE = 0x11C
    ORDERLY_COUNT = 0x11D
    MAX_COMMAND_SIZE = 0x11E
    MAX_RESPONSE_SIZE = 0x11F
    MAX_DIGEST = 0x120
    MAX_OBJECT_CONTEXT = 0x121
    MAX_SESSION_CONTEXT = 0x122
    PS_FAMILY_INDICATOR = 0x123
    PS_LEVEL = 0x124
    PS_REVISION = 0x125
    PS_DAY_OF_YEAR = 0x126
    PS_YEAR = 0x127
    SPLIT_MAX = 0x128
    TOTAL_COMMANDS = 0x129
    LIBRARY_COMMANDS = 0x12A
    VENDOR_COMMANDS = 0x12B
    NV_BUFFER_MAX = 0x12C
    MODES = 0x12D
    MAX_CAP_BUFFER = 0x12E
    PERMANENT = 0x200
    STARTUP_CLEAR = 0x201
    HR_NV_INDEX = 0x202
    HR_LOADED = 0x203
    HR_LOADED_AVAIL = 0x204
    HR_ACTIVE = 0x205
    HR_ACTIVE_AVAIL = 0x206
    HR_TRANSIENT_AVAIL = 0x207
    HR_PERSISTENT = 0x208
    HR_PERSISTENT_AVAIL = 0x209
    NV_COUNTERS = 0x20A
    NV_COUNTERS_AVAIL = 0x20B
    ALGORITHM_SET = 0x20C
    LOADED_CURVES = 0x20D
    LOCKOUT_COUNTER = 0x20E
    MAX_AUTH_FAIL = 0x20F
    LOCKOUT_INTERVAL = 0x210
    LOCKOUT_RECOVERY = 0x211
    NV_WRITE_RECOVERY = 0x212
    AUDIT_COUNTER_0 = 0x213
    AUDIT_COUNTER_1 = 0x214


class PT_PCR:
    """TPM_PT_PCR, properties of PCRs (part 2, 6.14)."""

    SAVE = 0x00
    EXTEND_L0 = 0x01
    RESET_L0 = 0x02
    EXTEND_L1 = 0x03
    RESET_L1 = 0x04
    EXTEND_L2 = 0x05
    RESET_L2 = 0x06
    EXTEND_L3 = 0x07
    RESET_L3 = 0x08
    EXTEND_L4 = 0x09
    RESET_L4 = 0x0A
    NO_INCREMENT = 0x11
    DRTM_RESET = 0x12
    POLICY = 0x13
    AUTH = 0x14


class TPMA_ALGORITHM:
    """TPMA_ALGORITHM (part 2, 8.2)."""

    ASYMMETRIC = 1 << 0
    SYMMETRIC = 1 << 1
    HASH = 1 << 2
    OBJECT = 1 << 3
    SIGNING = 1 << 8
    ENCRYPTING = 1 << 9
    METHOD = 1 << 10


class TPMA_OBJECT:
    """TPMA_OBJECT (part 2, 8.3)."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18
    X509_SIGN = 1 << 19
    DEFINED = 0x000F0CF6


class TPMA_SESSION:
    """TPMA_SESSION (part 2, 8.4)."""

    CONTINUE_SESSION = 0x01
    AUDIT_EXCLUSIVE = 0x02
    AUDIT_RESET = 0x04
    DECRYPT = 0x20
    ENCRYPT = 0x40
    AUDIT = 0x80
    RESERVED = 0x18


class TPMA_PERMANENT:
    """TPMA_PERMANENT (part 2, 8.6)."""

    OWNER_AUTH_SET = 1 << 0
    ENDORSEMENT_AUTH_SET = 1 << 1
    LOCKOUT_AUTH_SET = 1 << 2
    DISABLE_CLEAR = 1 << 8
    IN_LOCKOUT = 1 << 9
    TPM_GENERATED_EPS = 1 << 10


class TPMA_STARTUP_CLEAR:
    """TPMA_STARTUP_CLEAR (part 2, 8.7)."""

    PH_ENABLE = 1 << 0
    SH_ENABLE = 1 << 1
    EH_ENABLE = 1 << 2
    PH_ENABLE_NV = 1 << 3
    ORDERLY = 1 << 31


class TPMA_CC:
    """TPMA_CC (part 2, 8.9)."""

    NV = 1 << 22
    EXTENSIVE = 1 << 23
    FLUSHED = 1 << 24
    HANDLES_SHIFT = 25
    R_HANDLE = 1 << 28
    V = 1 << 29


class TPMA_NV:
    """TPMA_NV (part 2, 13.4)."""

    PPWRITE = 1 << 0
    OWNERWRITE = 1 << 1
    AUTHWRITE = 1 << 2
    POLICYWRITE = 1 << 3
    TYPE_SHIFT = 4
    TYPE_MASK = 0xF << 4
    POLICY_DELETE = 1 << 10
    WRITELOCKED = 1 << 11
    WRITEALL = 1 << 12
    WRITEDEFINE = 1 << 13
    WRITE_STCLEAR = 1 << 14
    GLOBALLOCK = 1 << 15
    PPREAD = 1 << 16
    OWNERREAD = 1 << 17
    AUTHREAD = 1 << 18
    POLICYREAD = 1 << 19
    NO_DA = 1 << 25
    ORDERLY = 1 << 26
    CLEAR_STCLEAR = 1 << 27
    READLOCKED = 1 << 28
    WRITTEN = 1 << 29
    PLATFORMCREATE = 1 << 30
    READ_STCLEAR = 1 << 31
    RESERVED = 0x01F00300


class NT:
    """TPM_NT, types of NV Indices (part 2, 13.2)."""

    ORDINARY = 0x0
    COUNTER = 0x1
    BITS = 0x2
    EXTEND = 0x4
    PIN_FAIL = 0x8
    PIN_PASS = 0x9


class CC:
    """TPM_CC, command codes (part 2, 6.5.2)."""

    NV_UndefineSpaceSpecial = 0x11F
    EvictControl = 0x120
    HierarchyControl = 0x121
    NV_UndefineSpace = 0x122
    ChangeEPS = 0x124
    ChangePPS = 0x125
    Clear = 0x126
    ClearControl = 0x127
    ClockSet = 0x128
    HierarchyChangeAuth = 0x129
    NV_DefineSpace = 0x12A
    PCR_Allocate = 0x12B
    PCR_SetAuthPolicy = 0x12C
    PP_Commands = 0x12D
    SetPrimaryPolicy = 0x12E
    FieldUpgradeStart = 0x12F
    ClockRateAdjust = 0x130
    CreatePrimary = 0x131
    NV_GlobalWriteLock = 0x132
    GetCommandAuditDigest = 0x133
    NV_Increment = 0x134
    NV_SetBits = 0x135
    NV_Extend = 0x136
    NV_Write = 0x137
    NV_WriteLock = 0x138
    DictionaryAttackLockReset = 0x139
    DictionaryAttackParameters = 0x13A
    NV_ChangeAuth = 0x13B
    PCR_Event = 0x13C
    PCR_Reset = 0x13D
    SequenceComplete = 0x13E
    SetAlgorithmSet = 0x13F
    SetCommandCodeAuditStatus = 0x140
    FieldUpgradeData = 0x141
    IncrementalSelfTest = 0x142
    SelfTest = 0x143
    Startup = 0x144
    Shutdown = 0x145
    StirRandom = 0x146
    ActivateCredential = 0x147
    Certify = 0x148
    PolicyNV = 0x149
    CertifyCreation = 0x14A
    Duplicate = 0x14B
    GetTime = 0x14C
    GetSessionAuditDigest = 0x14D
    NV_Read = 0x14E
    NV_ReadLock = 0x14F
    ObjectChangeAuth = 0x150
    PolicySecret = 0x151
    Rewrap = 0x152
    Create = 0x153
    ECDH_ZGen = 0x154
    HMAC = 0x155
    Import = 0x156
    Load = 0x157
    Quote = 0x158
    RSA_Decrypt = 0x159
    HMAC_Start = 0x15B
    SequenceUpdate = 0x15C
    Sign = 0x15D
    Unseal = 0x15E
    PolicySigned = 0x160
    ContextLoad = 0x161
    ContextSave = 0x162
    ECDH_KeyGen = 0x163
    EncryptDecrypt = 0x164
    FlushContext = 0x165
    LoadExternal = 0x167
    MakeCredential = 0x168
    NV_ReadPublic = 0x169
    PolicyAuthorize = 0x16A
    PolicyAuthValue = 0x16B
    PolicyCommandCode = 0x16C
    PolicyCounterTimer = 0x16D
    PolicyCpHash = 0x16E
    PolicyLocality = 0x16F
    PolicyNameHash = 0x170
    PolicyOR = 0x171
    PolicyTicket = 0x172
    ReadPublic = 0x173
    RSA_Encrypt = 0x174
    StartAuthSession = 0x176
    VerifySignature = 0x177
    ECC_Parameters = 0x178
    FirmwareRead = 0x179
    GetCapability = 0x17A
    GetRandom = 0x17B
    GetTestResult = 0x17C
    Hash = 0x17D
    PCR_Read = 0x17E
    PolicyPCR = 0x17F
    PolicyRestart = 0x180
    ReadClock = 0x181
    PCR_Extend = 0x182
    PCR_SetAuthValue = 0x183
    NV_Certify = 0x184
    EventSequenceComplete = 0x185
    HashSequenceStart = 0x186
    PolicyPhysicalPresence = 0x187
    PolicyDuplicationSelect = 0x188
    PolicyGetDigest = 0x189
    TestParms = 0x18A
    Commit = 0x18B
    PolicyPassword = 0x18C
    ZGen_2Phase = 0x18D
    EC_Ephemeral = 0x18E
    PolicyNvWritten = 0x18F
    PolicyTemplate = 0x190
    CreateLoaded = 0x191
    PolicyAuthorizeNV = 0x192
    EncryptDecrypt2 = 0x193
    AC_GetCapability = 0x194
    AC_Send = 0x195
    Policy_AC_SendSelect = 0x196
    CertifyX509 = 0x197
    ACT_SetTimeout = 0x198
    ECC_Encrypt = 0x199
    ECC_Decrypt = 0x19A


class ROLE:
    """Authorization roles (part 1, 19.2)."""

    NONE = 0
    USER = 1
    ADMIN = 2
    DUP = 3


# Limits of this implementation, in octets unless said otherwise. Those that a client can observe
# are the values of the PC Client profile and of the TPMs that its software is tested with.
PCR_COUNT = 24
PCR_SELECT_SIZE = 3
LOCALITIES = 5
MAX_SESSIONS_IN_COMMAND = 3
MAX_LOADED_OBJECTS = 3
MAX_LOADED_SESSIONS = 3
MAX_ACTIVE_SESSIONS = 64
MIN_EVICT_OBJECTS = 7
MAX_DIGEST_SIZE = 64
MAX_HASH_SIZE = MAX_DIGEST_SIZE + 2
MAX_SYM_BLOCK_SIZE = 16
MAX_SYM_KEY_SIZE = 32
MAX_SYM_DATA = 128
MAX_LABEL_SIZE = 32
MAX_BUFFER = 1024
MAX_NV_BUFFER = 1024
MAX_NV_INDEX_SIZE = 2048
MAX_CAP_BUFFER = 1024
MAX_COMMAND_SIZE = 4096
MAX_RESPONSE_SIZE = 4096
MAX_CONTEXT_SIZE = 2680
MAX_RSA_BITS = 3072
MAX_ECC_BYTES = 66
MAX_RSA_KEY_BYTES = MAX_RSA_BITS // 8
MAX_ALG_LIST = 64
MAX_HANDLES = 128
PRIMARY_SEED_SIZE = 64
PROOF_SIZE = 64
CLOCK_UPDATE_INTERVAL = 4096
CONTEXT_HASH = ALG.SHA512
CONTEXT_KEY_BITS = 256
CONTEXT_GAP_MAX = 0xFFFF
MAX_PERSISTENT_OBJECTS = 64
MAX_NV_INDICES = 256
NV_MEMORY_SIZE = 128 * 1024
"""For the data of all NV Indices together."""
