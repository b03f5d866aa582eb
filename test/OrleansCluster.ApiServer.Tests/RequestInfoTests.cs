using OrleansCluster.Api;

namespace OrleansCluster.ApiServer.Tests;

public sealed class RequestInfoTests
{
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);

    [Theory]
    [InlineData("GET", "/api/v1/namespaces", "list", "", "", "namespaces", "", "")]
    [InlineData("GET", "/api/v1/namespaces/a", "get", "", "", "namespaces", "a", "")]
    [InlineData("PUT", "/api/v1/namespaces/a/finalize", "update", "", "", "namespaces", "a", "finalize")]
    [InlineData("PATCH", "/api/v1/namespaces/a/status", "patch", "", "", "namespaces", "a", "status")]
    [InlineData("GET", "/api/v1/namespaces/a/pods", "list", "", "a", "pods", "", "")]
    [InlineData("GET", "/api/v1/namespaces/a/pods/", "list", "", "a", "pods", "", "")]
    [InlineData("DELETE", "/api/v1/namespaces/a/pods", "deletecollection", "", "a", "pods", "", "")]
    [InlineData("HEAD", "/api/v1/namespaces/a/pods/p", "get", "", "a", "pods", "p", "")]
    [InlineData("POST", "/api/v1/namespaces/a/pods/p/exec", "create", "", "a", "pods", "p", "exec")]
    [InlineData("GET", "/api/v1/watch/namespaces/a/pods", "watch", "", "a", "pods", "", "")]
    [InlineData("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", "update", "coordination.k8s.io", "a", "leases", "l", "")]
    [InlineData("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/r", "get", "rbac.authorization.k8s.io", "", "clusterroles", "r", "")]
    public void Parse_OfAResourcePath_NamesItsParts(
        string method, string path, string verb, string group, string ns, string resource, string name, string subresource)
    {
        var info = RequestInfoParser.Parse(Registry, method, path, watch: false, "");
        Assert.True(info.IsResource);
        Assert.Equal((verb, group, ns, resource, name, subresource),
            (info.Verb, info.Group, info.Namespace, info.Resource, info.Name, info.Subresource));
        Assert.NotNull(info.Definition);
    }

    [Theory]
    [InlineData("/")]
    [InlineData("/api")]
    [InlineData("/api/")]
    [InlineData("/api/v1")]
    [InlineData("/api/v1/")]
    [InlineData("/apis/apps")]
    [InlineData("/apis/apps/v1")]
    [InlineData("/healthz")]
    [InlineData("//")]
    [InlineData("/apiserver/v1/pods")]
    public void Parse_OfAnotherPath_IsNoResource(string path)
    {
        var info = RequestInfoParser.Parse(Registry, "GET", path, watch: false, "");
        Assert.False(info.IsResource);
        Assert.Equal("get", info.Verb);
    }

    [Fact]
    public void Parse_OfANamespaceObject_IsAuthorizedInsideThatNamespace()
    {
        var info = RequestInfoParser.Parse(Registry, "GET", "/api/v1/namespaces/a", watch: false, "");
        Assert.Equal("a", info.AuthorizationNamespace);
        Assert.Equal("", info.Namespace);
    }

    [Fact]
    public void Parse_KeepsWhatFollowsASubresource()
    {
        var info = RequestInfoParser.Parse(Registry, "GET", "/api/v1/namespaces/a/pods/p/proxy/x/y", watch: false, "");
        Assert.Equal("/x/y", info.Remainder);
    }

    [Fact]
    public void Parse_OfAListNarrowedToAName_CarriesTheNameForAuthorization()
    {
        Assert.Equal("x", RequestInfoParser.Parse(Registry, "GET", "/api/v1/namespaces/a/pods", watch: true, "x").Name);
        Assert.Equal("", RequestInfoParser.Parse(Registry, "POST", "/api/v1/namespaces/a/pods", watch: false, "x").Name);
    }
}
