using System.Net;
using Microsoft.Extensions.Time.Testing;

namespace OrleansCluster.ApiServer.Tests;

public sealed class PkiTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("pki-test-").FullName;
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Open_ASecondTime_UsesTheSameAuthorityAndCertificates()
    {
        using var first = ClusterPki.Open(_folder, _time);
        var serving = first.ServingCertificate(IPAddress.Parse("10.96.0.1"), []);
        using var second = ClusterPki.Open(_folder, _time);
        Assert.Equal(first.Authority.Thumbprint, second.Authority.Thumbprint);
        Assert.Equal(serving.Thumbprint, second.ServingCertificate(IPAddress.Parse("10.96.0.1"), []).Thumbprint);
        Assert.True(second.Issued(serving));
    }

    [Theory]
    [InlineData("localhost")]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    [InlineData("10.96.0.1")]
    [InlineData("kubernetes.default.svc")]
    [InlineData("api.example.org")]
    public void ServingCertificate_IsGoodForItsNames(string host)
    {
        using var pki = ClusterPki.Open(_folder, _time);
        var certificate = pki.ServingCertificate(IPAddress.Parse("10.96.0.1"), ["api.example.org"]);
        Assert.True(certificate.MatchesHostname(host, allowWildcards: false, allowCommonName: false));
    }

    [Fact]
    public void ServingCertificate_NearItsEndOrWithANewName_IsRenewed()
    {
        using var pki = ClusterPki.Open(_folder, _time);
        var first = pki.ServingCertificate(IPAddress.Loopback, []).Thumbprint;
        Assert.Equal(first, pki.ServingCertificate(IPAddress.Loopback, []).Thumbprint);
        var named = pki.ServingCertificate(IPAddress.Loopback, ["new.example.org"]).Thumbprint;
        Assert.NotEqual(first, named);
        _time.Advance(ClusterPki.LeafLifetime - ClusterPki.RenewBefore + TimeSpan.FromHours(1));
        Assert.NotEqual(named, pki.ServingCertificate(IPAddress.Loopback, ["new.example.org"]).Thumbprint);
    }

    [Fact]
    public void Issued_OfAnotherAuthority_IsFalse()
    {
        using var pki = ClusterPki.Open(_folder, _time);
        using var other = ClusterPki.Open(Path.Combine(_folder, "other"), _time);
        Assert.False(pki.Issued(other.AdminCertificate()));
        Assert.True(pki.Issued(pki.AdminCertificate()));
        Assert.Contains("O=system:masters", pki.AdminCertificate().Subject, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_OfATokenFile_ReadsUsersAndQuotedGroups()
    {
        var file = Path.Combine(_folder, "tokens");
        File.WriteAllText(file, "# comment\n\nt1,ann,7,\"a, b\"\nt2,ben,8\n");
        var tokens = StaticTokens.Load(file, []);
        Assert.Equal(["a", "b", "system:authenticated"], tokens.Find("t1")!.User.Groups);
        Assert.Equal("8", tokens.Find("t2")!.User.Uid);
        Assert.Null(tokens.Find("t3"));
        Assert.Null(tokens.Find(""));
        File.WriteAllText(file, "t1,ann\n");
        Assert.Contains("line 1", Assert.Throws<FormatException>(() => StaticTokens.Load(file, [])).Message, StringComparison.Ordinal);
    }
}
