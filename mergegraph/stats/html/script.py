"""What a report can do where JavaScript runs: switch the metric of the heat map, sort tables, open what a link means.

Texts go in as text, never as HTML. Nothing is loaded.
"""

SCRIPT = """
(function(){
"use strict";
var data=JSON.parse(document.getElementById("data").textContent);
var byId=function(id){return document.getElementById(id)};
var metric=byId("metric"),of=byId("of");
if(metric){
  document.querySelectorAll(".switch").forEach(function(s){s.hidden=false});
  var cells=document.querySelectorAll("#heat td[data-c]"),wide=byId("heat").classList.contains("wide");
  var draw=function(){
    var m=data.metrics[metric.value],s=m.series[of.selectedIndex],texts=s.text.split("|"),kind=s.two?"d":"s";
    byId("formula").textContent=m.formula;byId("reading").textContent=m.reading;
    byId("low").textContent=s.low;byId("high").textContent=s.high;
    document.querySelectorAll("#legend i").forEach(function(i,n){i.className=kind+n});
    cells.forEach(function(td){
      var c=+td.dataset.c,step=s.steps[c];
      td.className=step==="-"?"none":kind+parseInt(step,16);
      td.title=data.cells[c]+": "+texts[c];if(wide)td.textContent=texts[c];
    });
    document.querySelectorAll("[data-lines]").forEach(function(f){f.hidden=f.dataset.lines!==metric.value});
  };
  var fill=function(wanted){
    var series=data.metrics[metric.value].series;of.textContent="";
    series.forEach(function(s,i){var o=document.createElement("option");o.textContent=s.of;of.appendChild(o);
      if(s.key===wanted)of.selectedIndex=i});
    if(!wanted&&byId("heat").dataset.last==="y")of.selectedIndex=series.length-1;
    byId("of-label").hidden=series.length<2;draw();
  };
  metric.addEventListener("change",function(){fill("")});of.addEventListener("change",draw);
  fill(metric.dataset.series);
}
document.querySelectorAll("table.sort").forEach(function(table){
  var heads=table.querySelectorAll("thead th"),body=table.tBodies[0];
  heads.forEach(function(th,n){th.addEventListener("click",function(){
    var down=th.getAttribute("aria-sort")!=="descending",sign=down?-1:1;
    heads.forEach(function(h){h.removeAttribute("aria-sort")});
    th.setAttribute("aria-sort",down?"descending":"ascending");
    var key=function(tr){var td=tr.cells[n];return td.dataset.v!==undefined?+td.dataset.v:n>3?null:td.textContent};
    Array.from(body.rows).map(function(tr){return[key(tr),tr]}).sort(function(a,b){
      if(a[0]===null||b[0]===null)return(a[0]===null)-(b[0]===null);
      return a[0]<b[0]?-sign:a[0]>b[0]?sign:0;
    }).forEach(function(pair){body.appendChild(pair[1])});
  })});
});
var open=function(){var d=location.hash.length>1&&byId(location.hash.slice(1));
  if(d&&d.tagName==="DETAILS"){d.open=true;d.scrollIntoView()}};
window.addEventListener("hashchange",open);open();
})();
"""
