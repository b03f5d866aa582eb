using System.Collections.Frozen;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Finds out who makes a request: client certificate, then bearer token, then nobody (wire contract, section 1). A credential that is there
/// but wrong is 401, never anonymous: a client with an expired token must learn of it.
/// </summary>
internal sealed class Authentication(ClusterPki? pki, StaticTokens tokens, bool allowAnonymous)
{
    internal const string AuthenticatedGroup = "system:authenticated";

    // A connection's certificate object lives as long as the connection: its chain is built once, not per request.
    private readonly ConditionalWeakTable<X509Certificate2, CertificateResult> _certificates = [];

    /// <summary>The caller.</summary>
    /// <exception cref="StatusException">401.</exception>
    public Caller Authenticate(HttpContext context)
    {
        if (pki is not null && context.Features.Get<ITlsConnectionFeature>()?.ClientCertificate is { } certificate)
        {
            var result = _certificates.GetValue(certificate, Verify);
            if (result.Caller is { } caller)
                return caller;
            throw new StatusException(StatusError.Unauthorized());
        }
        var authorization = context.Request.Headers.Authorization;
        if (authorization.Count > 0)
        {
            var text = authorization[0] ?? "";
            const string Scheme = "Bearer ";
            if (text.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
                return tokens.Find(text.AsSpan(Scheme.Length).Trim()) ?? throw new StatusException(StatusError.Unauthorized());
        }
        return allowAnonymous ? Caller.Anonymous : throw new StatusException(StatusError.Unauthorized());
    }

    /// <summary>The user of a token, or null (TokenReview).</summary>
    public Caller? AuthenticateToken(string token) => tokens.Find(token);

    private CertificateResult Verify(X509Certificate2 certificate)
    {
        if (!pki!.Issued(certificate) || !IsForClients(certificate))
            return new CertificateResult(null);
        var name = "";
        var groups = new List<string>();
        foreach (var part in certificate.SubjectName.EnumerateRelativeDistinguishedNames(reversed: false))
        {
            if (part.HasMultipleElements)
                continue;
            switch (part.GetSingleElementType().Value)
            {
                case "2.5.4.3":
                    name = part.GetSingleElementValue() ?? "";
                    break;
                case "2.5.4.10":
                    groups.Add(part.GetSingleElementValue() ?? "");
                    break;
            }
        }
        if (name.Length == 0)
            return new CertificateResult(null);
        groups.Add(AuthenticatedGroup);
        return new CertificateResult(new Caller(new UserInfo(name, groups)));
    }

    private static bool IsForClients(X509Certificate2 certificate)
    {
        foreach (var extension in certificate.Extensions)
        {
            if (extension is X509EnhancedKeyUsageExtension usage)
                return usage.EnhancedKeyUsages.Cast<Oid>().Any(o => o.Value == "1.3.6.1.5.5.7.3.2");
        }
        return false;
    }

    private sealed record CertificateResult(Caller? Caller);
}

/// <summary>
/// Bearer tokens from a file: lines `token,user,uid[,"group1,group2"]`, as kube-apiserver's token file. Tokens are kept and looked up by their
/// hash, so that the time of a lookup tells nothing about a token.
/// </summary>
internal sealed class StaticTokens
{
    private readonly FrozenDictionary<UInt128, Caller> _byHash;

    private StaticTokens(Dictionary<UInt128, Caller> byHash) => _byHash = byHash.ToFrozenDictionary();

    /// <summary>No tokens.</summary>
    public static StaticTokens None { get; } = new([]);

    /// <summary>Reads a token file and adds single tokens.</summary>
    /// <param name="file">Path, or null.</param>
    /// <param name="single">Tokens with their users.</param>
    /// <exception cref="FormatException">A line has fewer than three fields.</exception>
    public static StaticTokens Load(string? file, IEnumerable<(string Token, UserInfo User)> single)
    {
        var byHash = new Dictionary<UInt128, Caller>();
        foreach (var (token, user) in single)
            byHash[Hash(token)] = new Caller(user);
        if (file is not null)
        {
            var number = 0;
            foreach (var line in File.ReadLines(file))
            {
                number++;
                var text = line.Trim();
                if (text.Length == 0 || text.StartsWith('#'))
                    continue;
                var fields = SplitCsv(text);
                if (fields.Count < 3 || fields[0].Length == 0)
                    throw new FormatException($"{file}, line {number}: a token line is token,user,uid[,\"group1,group2\"].");
                var groups = fields.Count > 3 ? fields[3].Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) : [];
                byHash[Hash(fields[0])] = new Caller(new UserInfo(fields[1], [.. groups, Authentication.AuthenticatedGroup], fields[2]));
            }
        }
        return new StaticTokens(byHash);
    }

    /// <summary>The administrator's token kept in a file; made at the first start.</summary>
    public static string EnsureTokenFile(string path)
    {
        using var folderLock = FolderLock.Take(Path.GetDirectoryName(Path.GetFullPath(path))!, TimeProvider.System);
        if (File.Exists(path) && File.ReadAllText(path).Trim() is { Length: > 0 } known)
            return known;
        var token = System.Buffers.Text.Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));
        PrivateFile.Write(path, token + "\n", UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return token;
    }

    /// <summary>The user of a token, or null.</summary>
    public Caller? Find(ReadOnlySpan<char> token) => token.IsEmpty ? null : _byHash.GetValueOrDefault(Hash(token));

    private static UInt128 Hash(ReadOnlySpan<char> token)
    {
        // 128 bits of SHA-256: enough that nobody finds a second text for a hash.
        Span<byte> hash = stackalloc byte[32];
        var count = Encoding.UTF8.GetByteCount(token);
        var bytes = count <= 512 ? stackalloc byte[512] : new byte[count];
        SHA256.HashData(bytes[..Encoding.UTF8.GetBytes(token, bytes)], hash);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(hash);
    }

    private static List<string> SplitCsv(string line)
    {
        var fields = new List<string>();
        var field = new StringBuilder();
        var quoted = false;
        for (var i = 0; i < line.Length; i++)
        {
            var c = line[i];
            if (quoted && c == '"' && i + 1 < line.Length && line[i + 1] == '"')
            {
                field.Append('"');
                i++;
            }
            else if (c == '"')
            {
                quoted = !quoted;
            }
            else if (c == ',' && !quoted)
            {
                fields.Add(field.ToString().Trim());
                field.Clear();
            }
            else
            {
                field.Append(c);
            }
        }
        fields.Add(field.ToString().Trim());
        return fields;
    }
}
