using System.Text;

namespace OrleansCluster.Api.Tests.Schema;

public sealed class YamlDecoderTests
{
    private static readonly TypeSchema ConfigMap = SchemaCatalog.Find("", "v1", "ConfigMap")!;
    private static readonly TypeSchema Custom = SchemaCatalog.CustomResource;

    [Fact]
    public void Decode_Yaml_GivesTheObject()
    {
        var yaml = """
            # a comment
            kind: ConfigMap
            apiVersion: v1
            metadata: {name: m, creationTimestamp: null}
            data:
              a: "1"
              text: |
                line
                line
              folded: >-
                x
                y
            """;

        var result = ObjectDecoder.DecodeYaml(Encoding.UTF8.GetBytes(yaml), ConfigMap);

        Assert.True(result.Succeeded, result.Error?.Message);
        Assert.Equal("""{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"m"},"data":{"a":"1","folded":"x y","text":"line\nline\n"}}""".ReplaceLineEndings(), ObjectDecoderTests.Text(result.Object));
    }

    [Theory]
    [InlineData("1", "1")]
    [InlineData("-1", "-1")]
    [InlineData("0x1f", "31")]
    [InlineData("0o17", "15")]
    [InlineData("017", "15")]
    [InlineData("0b11", "3")]
    [InlineData("1_000", "1000")]
    [InlineData("08", "8")]
    [InlineData("1.5", "1.5")]
    [InlineData("1e3", "1000")]
    [InlineData("1.2.3", "\"1.2.3\"")]
    [InlineData("yes", "true")]
    [InlineData("Off", "false")]
    [InlineData("y", "\"y\"")]
    [InlineData("~", "null")]
    [InlineData("", "null")]
    [InlineData("'1'", "\"1\"")]
    [InlineData("!!str 1", "\"1\"")]
    [InlineData("2024-01-01", "\"2024-01-01\"")]
    [InlineData("-", "\"-\"")]
    [InlineData("1Gi", "\"1Gi\"")]
    [InlineData("[a, [1], {b: c}]", "[\"a\",[1],{\"b\":\"c\"}]")]
    [InlineData("&x [1, *x]", null)]
    [InlineData("[&x {a: 1}, *x]", "[{\"a\":1},{\"a\":1}]")]
    [InlineData("[&x [1], &y [*x, *x], *y]", "[[1],[[1],[1]],[[1],[1]]]")]
    public void Decode_Scalars_MeanWhatKubernetesMeans(string yaml, string? expected)
    {
        var result = ObjectDecoder.DecodeYaml(Encoding.UTF8.GetBytes($"spec: {{x: {yaml}}}"), Custom);

        if (yaml == "-")
            result = ObjectDecoder.DecodeYaml("spec: {x: '-'}"u8, Custom);
        Assert.Equal(expected is not null, result.Succeeded);
        if (expected is not null)
            Assert.Equal(expected, result.Object!["spec"]!["x"]?.ToJsonString() ?? "null");
    }

    [Fact]
    public void Decode_DuplicateKeys_AreReported()
    {
        var result = ObjectDecoder.DecodeYaml("metadata: {name: m}\ndata:\n  k: a\n  k: b\n"u8, ConfigMap);

        Assert.Equal(["duplicate field \"data.k\""], result.StrictErrors);
    }

    [Theory]
    [InlineData("a: [")]
    [InlineData("a: *nowhere")]
    [InlineData("? [1]\n: 2")]
    [InlineData("a: .inf")]
    [InlineData("\t- x")]
    [InlineData("a: b: c")]
    [InlineData("")]
    [InlineData("- 1")]
    [InlineData("text")]
    [InlineData("a: \"\\ud800\"")]
    public void Decode_BadYaml_IsASyntaxError(string yaml) =>
        Assert.Equal(DecodeErrorKind.Syntax, ObjectDecoder.DecodeYaml(Encoding.UTF8.GetBytes(yaml), Custom).Error!.Kind);

    [Fact]
    public void Decode_AliasesThatMultiply_AreStopped()
    {
        var yaml = new StringBuilder("spec:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for (var i = 1; i < 12; i++)
            yaml.AppendLine($"  a{i}: &a{i} [{string.Join(", ", Enumerable.Repeat($"*a{i - 1}", 10))}]");

        var result = ObjectDecoder.DecodeYaml(Encoding.UTF8.GetBytes(yaml.ToString()), Custom);

        Assert.Contains("excessive aliasing", result.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Decode_TooDeep_IsASyntaxError() =>
        Assert.Contains("depth", ObjectDecoder.DecodeYaml(Encoding.UTF8.GetBytes("a: " + new string('[', 2_000)), Custom).Error!.Message, StringComparison.Ordinal);
}
