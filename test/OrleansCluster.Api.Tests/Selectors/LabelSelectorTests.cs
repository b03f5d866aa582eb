using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

public sealed class LabelSelectorTests
{
    [Theory]
    [InlineData("", "")]
    [InlineData("a=b", "a=b")]
    [InlineData("a==b", "a=b")]
    [InlineData(" a = b , c in ( e , d ) ", "a=b,c in (d,e)")]
    [InlineData("g,!f,c notin (x),a!=b", "a!=b,c notin (x),!f,g")]
    [InlineData("k>5,k<9", "k>5,k<9")]
    [InlineData("k=", "k=")]
    [InlineData("k= ,l", "k=,l")]
    [InlineData("in", "in")]
    [InlineData("notin in (in,notin)", "notin in (in,notin)")]
    [InlineData("a in (,b)", "a in (,b)")]
    [InlineData("example.com/role in (db)", "example.com/role in (db)")]
    public void Parse_and_print(string text, string printed)
    {
        var selector = LabelSelector.Parse(text);
        Assert.Equal(printed, selector.ToString());
        Assert.Equal(printed, LabelSelector.Parse(printed).ToString());
    }

    [Theory]
    [InlineData("a,")]
    [InlineData(",a")]
    [InlineData("a b")]
    [InlineData("a=b=c")]
    [InlineData("a in b")]
    [InlineData("a in (b")]
    [InlineData("a in (b c)")]
    [InlineData("!a=b")]
    [InlineData("!")]
    [InlineData("=b")]
    [InlineData("k>x")]
    [InlineData("k>")]
    [InlineData("-bad=b")]
    [InlineData("a=-bad")]
    [InlineData("a/b/c=d")]
    [InlineData("a=(b)")]
    public void Parse_refuses(string text)
    {
        Assert.False(LabelSelector.TryParse(text, out _, out var error));
        Assert.StartsWith("unable to parse requirement: ", error, StringComparison.Ordinal);
        Assert.Equal(400, Assert.Throws<StatusException>(() => LabelSelector.Parse(text)).Status.Code);
    }

    [Theory]
    [InlineData("app=web", true)]
    [InlineData("app=api", false)]
    [InlineData("app!=api", true)]
    [InlineData("none!=x", true)]
    [InlineData("app in (api,web)", true)]
    [InlineData("app notin (api,web)", false)]
    [InlineData("none notin (a)", true)]
    [InlineData("app", true)]
    [InlineData("!app", false)]
    [InlineData("none", false)]
    [InlineData("!none", true)]
    [InlineData("n>5", true)]
    [InlineData("n>7", false)]
    [InlineData("n<8", true)]
    [InlineData("app<8", false)]
    [InlineData("none<8", false)]
    [InlineData("empty=", true)]
    [InlineData("app=web,n>7", false)]
    [InlineData("", true)]
    public void Matches(string text, bool expected)
    {
        var selector = LabelSelector.Parse(text);
        Assert.Equal(expected, selector.Matches((KeyValuePair<string, string>[])[new("app", "web"), new("n", "7"), new("empty", "")]));
        Assert.Equal(expected, selector.Matches(new JsonObject { ["app"] = "web", ["n"] = "7", ["empty"] = "" }));
    }

    [Fact]
    public void Object_form_joins_labels_and_expressions()
    {
        var selector = (JsonObject)JsonNode.Parse("""
            {"matchLabels":{"b":"1"},"matchExpressions":[
              {"key":"a","operator":"In","values":["y","x"]},{"key":"c","operator":"NotIn","values":["z"]},
              {"key":"d","operator":"Exists"},{"key":"e","operator":"DoesNotExist"}]}
            """)!;
        var errors = new FieldErrors();
        Assert.Equal("a in (x,y),b=1,c notin (z),d,!e", LabelSelector.FromObject(selector, FieldPath.Root("s"), errors).ToString());
        Assert.True(errors.IsEmpty);
    }

    [Fact]
    public void Object_form_collects_all_errors()
    {
        var selector = (JsonObject)JsonNode.Parse("""
            {"matchLabels":{"-":"v"},"matchExpressions":[
              {"key":"a","operator":"In"},{"key":"b","operator":"Exists","values":["x"]},{"key":"c","operator":"Like"},{"key":"","operator":"Exists"}]}
            """)!;
        var errors = new FieldErrors();
        LabelSelector.FromObject(selector, FieldPath.Root("s"), errors);
        Assert.Equal(
            ["s.matchLabels", "s.matchExpressions[0].values", "s.matchExpressions[1].values", "s.matchExpressions[2].operator", "s.matchExpressions[3].key"],
            errors.All.Select(e => e.Field));
    }

    [Fact]
    public void Null_selects_nothing_and_empty_everything()
    {
        Assert.False(LabelSelector.FromObject(null, FieldPath.Root("s"), new FieldErrors()).Matches((JsonObject?)null));
        Assert.True(LabelSelector.FromObject([], FieldPath.Root("s"), new FieldErrors()).Matches((JsonObject?)null));
        Assert.True(LabelSelector.FromLabels([]).IsNothing);
        Assert.True(LabelSelector.FromLabels(null).IsNothing);
        Assert.True(LabelSelector.Everything.IsEverything);
    }

    [Fact]
    public void Exact_match_is_offered_to_indexes()
    {
        Assert.True(LabelSelector.Parse("a=b,c").RequiresExactMatch("a", out var value));
        Assert.Equal("b", value);
        Assert.True(LabelSelector.Parse("a in (b)").RequiresExactMatch("a", out _));
        Assert.False(LabelSelector.Parse("a in (b,c)").RequiresExactMatch("a", out _));
        Assert.False(LabelSelector.Parse("a!=b").RequiresExactMatch("a", out _));
    }
}
