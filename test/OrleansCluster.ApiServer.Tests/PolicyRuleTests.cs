using System.Text.Json.Nodes;

namespace OrleansCluster.ApiServer.Tests;

public sealed class PolicyRuleTests
{
    [Theory]
    [InlineData("get", "", "pods", "", true)]
    [InlineData("get", "", "pods/log", "", false)]
    [InlineData("get", "apps", "pods", "", false)]
    [InlineData("delete", "", "pods", "", false)]
    public void Allows_ComparesVerbGroupAndResource(string verb, string group, string resource, string name, bool allowed)
    {
        var rule = new PolicyRule { Verbs = ["get", "list"], ApiGroups = [""], Resources = ["pods"] };
        Assert.Equal(allowed, rule.Allows(new AccessAttributes(verb, group, resource, "ns", name)));
    }

    [Theory]
    [InlineData("deployments/scale", true)]
    [InlineData("replicationcontrollers/scale", true)]
    [InlineData("deployments", false)]
    [InlineData("deployments/status", false)]
    public void Allows_WithAStarBeforeASubresource_TakesThatOfEveryResource(string resource, bool allowed)
    {
        var rule = new PolicyRule { Verbs = ["*"], ApiGroups = ["*"], Resources = ["*/scale"] };
        Assert.Equal(allowed, rule.Allows(new AccessAttributes("update", "apps", resource, "", "")));
    }

    [Fact]
    public void Allows_WithResourceNames_NeedsOneOfThem()
    {
        var rule = new PolicyRule { Verbs = ["get"], ApiGroups = [""], Resources = ["secrets"], ResourceNames = ["a"] };
        Assert.True(rule.Allows(new AccessAttributes("get", "", "secrets", "", "a")));
        Assert.False(rule.Allows(new AccessAttributes("get", "", "secrets", "", "b")));
        Assert.False(rule.Allows(new AccessAttributes("get", "", "secrets", "", "")));
    }

    [Theory]
    [InlineData("/metrics", true)]
    [InlineData("/healthz/etcd", true)]
    [InlineData("/healthz", false)]
    [InlineData("/metricsx", false)]
    public void Allows_OfAPath_TakesItWholeOrByPrefix(string path, bool allowed)
    {
        var rule = new PolicyRule { Verbs = ["get"], NonResourceUrls = ["/metrics", "/healthz/*"] };
        Assert.Equal(allowed, rule.Allows(AccessAttributes.ForPath("get", path)));
        Assert.False(rule.Allows(new AccessAttributes("get", "", path, "", "")));
    }

    [Fact]
    public void Covers_HoldsForEveryPartOfANarrowerRule()
    {
        var wide = new PolicyRule { Verbs = ["*"], ApiGroups = ["", "apps"], Resources = ["*"] };
        var narrow = new PolicyRule { Verbs = ["get", "list"], ApiGroups = ["apps"], Resources = ["deployments", "replicasets"] };
        Assert.All(narrow.Split(), one => Assert.True(wide.Covers(one)));
        Assert.Equal(4, narrow.Split().Count());
        Assert.Contains(wide.Split(), one => !narrow.Covers(one));
        var named = new PolicyRule { Verbs = ["get"], ApiGroups = [""], Resources = ["pods"], ResourceNames = ["a"] };
        Assert.False(named.Covers(new PolicyRule { Verbs = ["get"], ApiGroups = [""], Resources = ["pods"] }));
    }

    [Fact]
    public void ReadAll_OfMalformedRules_GrantsNothing()
    {
        Assert.Empty(PolicyRule.ReadAll(JsonNode.Parse("\"x\"")));
        var rules = PolicyRule.ReadAll(JsonNode.Parse("""[1,{"verbs":"get","resources":[1],"apiGroups":[""]}]"""));
        Assert.DoesNotContain(rules, r => r.Allows(new AccessAttributes("get", "", "pods", "", "")));
    }
}
