using System.Text.RegularExpressions;

namespace OrleansCluster.Proxy.Tests.Nftables;

/// <summary>
/// What a kernel would hold after a transaction, and what it would refuse: a small interpreter of the commands the proxy
/// writes. Two scripts that lead to an equal <see cref="ToString"/> lead to equal tables.
/// </summary>
internal sealed partial class NftModel
{
    private readonly SortedDictionary<string, List<string>> _chains = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, string> _sets = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, string> _elements = new(StringComparer.Ordinal);

    /// <summary>Number of rules that were written: each one written again would reset a round robin position.</summary>
    public int RulesWritten { get; private set; }

    public void Apply(string script)
    {
        foreach (var line in script.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var match = Command().Match(line);
            Assert.True(match.Success, $"Not understood: {line}");
            var rest = match.Groups["rest"].Value;
            var name = match.Groups["name"].Value;
            switch (match.Groups["verb"].Value + " " + match.Groups["kind"].Value)
            {
                case "add table":
                    break;
                case "delete table":
                    _chains.Clear();
                    _sets.Clear();
                    _elements.Clear();
                    break;
                case "add map" or "add set":
                    Assert.True(_sets.TryAdd(name, rest), $"Exists: {line}");
                    break;
                case "delete set":
                    Assert.False(_chains.Values.SelectMany(static r => r).Any(r => Words(r).Contains("@" + name)), $"In use: {line}");
                    Assert.True(_sets.Remove(name), $"Missing: {line}");
                    break;
                case "add chain":
                    Assert.True(_chains.TryAdd(name, [rest]), $"Exists: {line}");
                    break;
                case "flush chain":
                    Assert.True(_chains.ContainsKey(name), $"Missing: {line}");
                    _chains[name].RemoveRange(1, _chains[name].Count - 1);
                    break;
                case "delete chain":
                    Assert.False(IsTarget(name), $"In use: {line}");
                    Assert.True(_chains.Remove(name), $"Missing: {line}");
                    break;
                case "add rule":
                    CheckReferences(line, rest);
                    Assert.True(_chains.ContainsKey(name), $"Missing: {line}");
                    _chains[name].Add(rest);
                    RulesWritten++;
                    break;
                case "add element":
                    CheckReferences(line, rest);
                    foreach (var (key, verdict) in Elements(rest))
                        Assert.True(_elements.TryAdd($"{name} {key}", verdict), $"Exists: {key} in {line}");
                    break;
                case "delete element":
                    foreach (var (key, _) in Elements(rest))
                        Assert.True(_elements.Remove($"{name} {key}"), $"Missing: {key} in {line}");
                    break;
                default:
                    Assert.Fail($"Not understood: {line}");
                    break;
            }
        }
    }

    public override string ToString() => string.Join('\n',
    [
        .. _sets.Select(static s => $"set {s.Key} {s.Value}"),
        .. _chains.Select(static c => $"chain {c.Key} {string.Join("; ", c.Value)}"),
        .. _elements.Select(static e => $"element {e.Key} : {e.Value}"),
    ]);

    private bool IsTarget(string chain) =>
        _chains.Values.SelectMany(static r => r).Concat(_elements.Values).Any(text => Targets(text).Contains(chain));

    private void CheckReferences(string line, string text)
    {
        foreach (var target in Targets(text))
            Assert.True(_chains.ContainsKey(target), $"Target {target} is missing: {line}");
        foreach (var set in Words(text).Where(static w => w.StartsWith('@')))
            Assert.True(_sets.ContainsKey(set[1..]), $"Set {set} is missing: {line}");
    }

    private static IEnumerable<string> Targets(string text)
    {
        var words = Words(text);
        return words.Zip(words.Skip(1)).Where(static p => p.First is "goto" or "jump").Select(static p => p.Second);
    }

    private static string[] Words(string text) => text.Split([' ', ',', ';'], StringSplitOptions.RemoveEmptyEntries);

    private static IEnumerable<(string Key, string Verdict)> Elements(string rest) =>
        rest.Trim('{', '}', ' ').Split(", ").Select(static e => e.Split(" : ")).Select(static p => (p[0], p.Length > 1 ? p[1] : ""));

    [GeneratedRegex("^(?<verb>add|delete|flush) (?<kind>table|map|set|chain|rule|element) ip t ?(?<name>[^ ]*) ?(?<rest>.*)$", RegexOptions.ExplicitCapture)]
    private static partial Regex Command();
}
